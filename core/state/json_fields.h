#pragma once

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace savepoint {

inline constexpr int kDeepestJson = 64;

// JSON of a file that may be hostile. Besides bad syntax it refuses what nlohmann lets through: a key
// that comes twice, and nesting deeper than kDeepestJson. Throws FileError(file, ..).
nlohmann::json parse_json(const std::string& text, const std::string& file);

// Reads the fields of one JSON object; each reader throws FileError naming the file and the field.
class Fields {
   public:
    // `where` is the object's own name in messages ("thoughts[3]"; empty for the whole file).
    Fields(const nlohmann::json& object, std::string file, std::string where);

    bool has(const std::string& key) const { return object_.contains(key); }
    const nlohmann::json& any(const std::string& key) const;
    int64_t integer(const std::string& key, int64_t low, int64_t high) const;
    uint64_t unsigned_integer(const std::string& key) const;
    double number(const std::string& key) const;  // null is NaN
    float single(const std::string& key) const;   // null is NaN; refuses what float cannot hold
    bool boolean(const std::string& key) const;
    std::string text(const std::string& key) const;
    std::string sha256(const std::string& key) const;  // 64 lower-case hex digits: safe as a file name
    const nlohmann::json& array(const std::string& key) const;
    Fields object(const std::string& key) const;
    Fields element(const std::string& key, size_t index) const;  // an object inside the array `key`

    std::string name(const std::string& key) const;  // the field's full name
    [[noreturn]] void refuse(const std::string& key, const std::string& problem) const;

   private:
    const nlohmann::json& object_;
    std::string file_, where_;
};

bool is_sha256(const std::string& text);

// JSON has no NaN: null stands for what is not known.
inline nlohmann::json number_or_null(double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}
inline double number_or_nan(const nlohmann::json& value) { return value.is_number() ? value.get<double>() : NAN; }

}  // namespace savepoint
