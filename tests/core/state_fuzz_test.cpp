// Damaged and hostile files: whatever is in them, reading ends in a FileError or in something sound.

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <fstream>
#include <random>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/state/files.h"
#include "tests/core/state_toy.h"

using namespace savepoint;
using nlohmann::json;

namespace {

using Random = std::mt19937_64;

size_t below(Random& random, size_t end) { return end == 0 ? 0 : random() % end; }

std::string mutate_bytes(std::string bytes, Random& random) {
    const size_t times = 1 + below(random, 4);
    for (size_t i = 0; i < times && !bytes.empty(); ++i) {
        const size_t at = below(random, below(random, 2) ? bytes.size() : std::min<size_t>(bytes.size(), 600));
        switch (below(random, 6)) {
            case 0:
                bytes[at] = static_cast<char>(random());
                break;
            case 1:
                bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(random, 8)));
                break;
            case 2:
                bytes.erase(at, 1 + below(random, 16));
                break;
            case 3:
                bytes.insert(at, std::string(1 + below(random, 16), static_cast<char>(random())));
                break;
            case 4:
                bytes.resize(at);
                break;
            default:
                bytes.replace(at, 1, std::string("0123456789-\"[]{},:e.").substr(below(random, 20), 1));
        }
    }
    return bytes;
}

json hostile_value(Random& random) {
    static const std::vector<json> values = {nullptr,
                                             true,
                                             0,
                                             1,
                                             -1,
                                             2,
                                             257,
                                             65536,
                                             4096,
                                             1.5,
                                             -0.0,
                                             1e300,
                                             int64_t{1} << 40,
                                             (int64_t{1} << 53),
                                             std::numeric_limits<int64_t>::max(),
                                             std::numeric_limits<int64_t>::min(),
                                             std::numeric_limits<uint64_t>::max(),
                                             "",
                                             "root",
                                             "merge",
                                             "intervention",
                                             "../x",
                                             std::string(64, 'a'),
                                             json::array(),
                                             json::object(),
                                             {1, 2, 3},
                                             {{"id", 1}}};
    return values[below(random, values.size())];
}

// Somewhere in the tree a value is replaced, removed, copied from elsewhere, or put in twice.
void mutate_json(json& root, Random& random) {
    std::vector<json*> nodes;
    const std::function<void(json&)> walk = [&](json& node) {
        nodes.push_back(&node);
        if (node.is_structured())
            for (json& child : node) walk(child);
    };
    walk(root);
    json& node = *nodes[below(random, nodes.size())];
    const json copy = *nodes[below(random, nodes.size())];
    switch (below(random, 4)) {
        case 0:
            node = hostile_value(random);
            break;
        case 1:
            node = copy;
            break;
        case 2:
            if (node.is_structured() && !node.empty())
                node.erase(std::next(node.begin(), static_cast<int64_t>(below(random, node.size()))));
            break;
        default:
            if (node.is_array())
                node.push_back(node.empty() ? hostile_value(random) : node[below(random, node.size())]);
            else if (node.is_number_integer())
                node = node.get<int64_t>() + static_cast<int64_t>(below(random, 5)) - 2;
            else
                node = hostile_value(random);
    }
}

// Everything a reader of the graph would ask for.
void use(const SessionContents& contents) {
    const ThoughtGraph& graph = contents.graph;
    for (const auto& [id, thought] : graph.thoughts()) {
        const int64_t length = graph.path_length(id);
        CHECK(static_cast<int64_t>(graph.path_tokens(id).size()) == length);
        const StateRows rows = graph.path_rows(id, 0, length);
        if (rows.has_kv()) CHECK(rows.key.size(0) == length);
        if (length > 0) graph.owner(id, length - 1);
        for (const RowEdit& edit : graph.path_edits(id)) CHECK(edit.position < length + 1);
        graph.shared_prefix(id, graph.thoughts().begin()->first);
        passes_of(thought);
    }
    if (contents.current) graph.at(contents.current);
}

// True when it opened. Any exception but FileError fails the test.
bool opens(const std::string& folder) {
    try {
        use(open_session(folder));
        return true;
    } catch (const FileError&) {
        return false;
    }
}

void write_plainly(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

struct Target {
    toy::Folder folder;
    std::string path = folder.path("a.savepoint");
    std::string manifest;
    Target() {
        save_session(path, toy::make_story().contents);
        manifest = read_file(path + "/manifest.json");
    }
};

}  // namespace

TEST_CASE("800 damaged safetensors") {
    TensorFile file;
    file.metadata = {{"format", "pt"}};
    for (int i = 0; i < 6; ++i)
        file.tensors["t" + std::to_string(i)] = at::arange(i * 4).reshape({i, 4}).to(i % 2 ? at::kFloat : at::kLong);
    const std::string good = to_safetensors(file);
    Random random(1);
    int read = 0;
    for (int i = 0; i < 800; ++i) {
        try {
            for (const auto& [name, tensor] : from_safetensors(mutate_bytes(good, random), "fuzz").tensors)
                CHECK(tensor.nbytes() <= good.size());
            ++read;
        } catch (const FileError&) {
        }
    }
    CHECK(read > 0);
    CHECK(read < 800);
}

TEST_CASE("500 manifests with damaged bytes") {
    const Target target;
    Random random(2);
    const int64_t before = resident_bytes();
    int opened = 0;
    for (int i = 0; i < 500; ++i) {
        write_plainly(target.path + "/manifest.json", mutate_bytes(target.manifest, random));
        opened += opens(target.path);
    }
    CHECK(opened < 500);
    CHECK(resident_bytes() - before < 256 << 20);
}

TEST_CASE("700 manifests with hostile values") {
    const Target target;
    Random random(3);
    const int64_t before = resident_bytes();
    int opened = 0;
    for (int i = 0; i < 700; ++i) {
        json manifest = json::parse(target.manifest);
        for (size_t times = 1 + below(random, 2); times > 0; --times) mutate_json(manifest, random);
        write_plainly(target.path + "/manifest.json", manifest.dump());
        opened += opens(target.path);
        inspect_session(target.path, false);
    }
    CHECK(opened > 0);
    CHECK(opened < 700);
    CHECK(resident_bytes() - before < 256 << 20);
}

TEST_CASE("200 damaged blobs whose hash is right all the same") {
    const Target target;
    const json good = json::parse(target.manifest);
    Random random(4);
    int opened = 0;
    for (int i = 0; i < 200; ++i) {
        json manifest = good;
        json& thoughts = manifest["thoughts"];
        json& thought = thoughts[below(random, 4)];
        json& entry = thought["edits"].empty() || below(random, 2) ? thought["segments"][0] : thought["edits"][0];
        const std::string bytes = mutate_bytes(
            read_file(target.path + "/blobs/" + entry["blob"].get<std::string>() + ".safetensors"), random);
        entry["blob"] = sha256_hex(bytes);
        const std::string blob = target.path + "/blobs/" + entry["blob"].get<std::string>() + ".safetensors";
        const bool known = std::ifstream(blob).good();
        if (!known) write_plainly(blob, bytes);
        write_plainly(target.path + "/manifest.json", manifest.dump());
        opened += opens(target.path);
        if (!known) ::remove(blob.c_str());
    }
    CHECK(opened < 200);
}
