#include "core/state/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "core/model/error.h"

namespace savepoint {
namespace {

using nlohmann::json;

// Watches the parser for what it would accept silently.
class Watch {
   public:
    explicit Watch(std::string file) : file_(std::move(file)) {}

    bool operator()(int, json::parse_event_t event, json& parsed) {
        if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) enter();
        if (event == json::parse_event_t::object_end || event == json::parse_event_t::array_end) keys_.pop_back();
        if (event == json::parse_event_t::key) see(parsed.get_ref<const std::string&>());
        return true;
    }

   private:
    void enter() {
        if (keys_.size() >= kDeepestJson)
            throw FileError(file_, "JSON nested deeper than " + std::to_string(kDeepestJson) + " levels");
        keys_.emplace_back();
    }
    void see(const std::string& key) {
        if (!keys_.back().insert(key).second)
            throw FileError(file_, "the key \"" + key + "\" comes twice in one object");
    }

    std::string file_;
    std::vector<std::set<std::string>> keys_;
};

}  // namespace

json parse_json(const std::string& text, const std::string& file) {
    Watch watch(file);
    try {
        return json::parse(text, std::ref(watch));
    } catch (const json::exception& e) {
        throw FileError(file, std::string("is not valid JSON (") + e.what() + ")");
    }
}

Fields::Fields(const json& object, std::string file, std::string where)
    : object_(object), file_(std::move(file)), where_(std::move(where)) {
    if (!object_.is_object()) throw FileError(file_, (where_.empty() ? "the whole" : where_) + " is not a JSON object");
}

std::string Fields::name(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }

void Fields::refuse(const std::string& key, const std::string& problem) const {
    throw FileError(file_, name(key) + " " + problem);
}

const json& Fields::any(const std::string& key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) refuse(key, "is missing");
    return *found;
}

int64_t Fields::integer(const std::string& key, int64_t low, int64_t high) const {
    const json& value = any(key);
    if (!value.is_number_integer()) refuse(key, "is not an integer");
    const bool beyond = value.is_number_unsigned() &&
                        value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    const int64_t number = beyond ? high : value.get<int64_t>();
    if (beyond || number < low || number > high)
        refuse(key, "is " + value.dump() + ", outside " + std::to_string(low) + " to " + std::to_string(high));
    return number;
}

uint64_t Fields::unsigned_integer(const std::string& key) const {
    const json& value = any(key);
    if (value.is_number_unsigned()) return value.get<uint64_t>();
    // An integer built in memory is signed even when it is not negative.
    if (!value.is_number_integer() || value.get<int64_t>() < 0) refuse(key, "is not a non-negative integer");
    return static_cast<uint64_t>(value.get<int64_t>());
}

double Fields::number(const std::string& key) const {
    const json& value = any(key);
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) refuse(key, "is not a number");
    return value.get<double>();
}

float Fields::single(const std::string& key) const {
    const double value = number(key);
    if (std::abs(value) > std::numeric_limits<float>::max()) refuse(key, "is out of range");
    return static_cast<float>(value);
}

bool Fields::boolean(const std::string& key) const {
    const json& value = any(key);
    if (!value.is_boolean()) refuse(key, "is not true or false");
    return value.get<bool>();
}

std::string Fields::text(const std::string& key) const {
    const json& value = any(key);
    if (!value.is_string()) refuse(key, "is not a string");
    return value.get<std::string>();
}

std::string Fields::sha256(const std::string& key) const {
    std::string value = text(key);
    if (!is_sha256(value)) refuse(key, "is not a SHA-256 in lower-case hex");
    return value;
}

const json& Fields::array(const std::string& key) const {
    const json& value = any(key);
    if (!value.is_array()) refuse(key, "is not an array");
    return value;
}

Fields Fields::object(const std::string& key) const { return {any(key), file_, name(key)}; }

Fields Fields::element(const std::string& key, size_t index) const {
    return {array(key).at(index), file_, name(key) + "[" + std::to_string(index) + "]"};
}

bool is_sha256(const std::string& text) {
    const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    return text.size() == 64 && std::all_of(text.begin(), text.end(), hex);
}

}  // namespace savepoint
