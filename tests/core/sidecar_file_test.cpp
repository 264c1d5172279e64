// Sidecar files: the same after a round trip, refused when damaged, foreign or of another version.

#include "core/model/error.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/safetensors.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

TensorFile saved_file() {
    static const TensorFile file = [] {
        TemporaryFolder folder("sidecar-file");
        default_small_sidecar()->save(folder.file("s.safetensors"));
        return read_safetensors(folder.file("s.safetensors"));
    }();
    TensorFile copy = file;
    for (auto& [name, tensor] : copy.tensors) tensor = tensor.clone();
    return copy;
}

// Written with a digest that fits, so that the check under test is the one that answers.
void refuses(TensorFile file, bool sealed = true) {
    TemporaryFolder folder("sidecar-bad");
    if (sealed) file.metadata["digest"] = content_digest(file);
    write_safetensors(folder.file("bad.safetensors"), file);
    CHECK_THROWS_AS(Sidecar::load(folder.file("bad.safetensors"), nullptr), FileError);
}

void refuses_description(const std::function<void(nlohmann::json&)>& change) {
    TensorFile file = saved_file();
    nlohmann::json description = nlohmann::json::parse(file.metadata["sidecar"]);
    change(description);
    file.metadata["sidecar"] = description.dump();
    refuses(file);
}

}  // namespace

TEST_CASE("a sidecar survives a round trip with the same hash and the same codes") {
    TemporaryFolder folder("sidecar-round");
    const std::string path = folder.file("s.safetensors");
    const auto sidecar = default_small_sidecar();
    sidecar->save(path);
    const auto loaded = Sidecar::load(path, nullptr);
    CHECK(loaded->hash() == sidecar->hash());
    CHECK(loaded->hash() == sha256_hex(read_file(path)));
    CHECK(loaded->info().seed == 18446744073709551615u);
    CHECK(loaded->info().settings == sidecar->info().settings);
    CHECK(loaded->info().figures == sidecar->info().figures);
    CHECK(loaded->info().exact_first_tokens == 4);
    const StateRows rows = random_rows(20, 8);
    const Latent a = sidecar->encode(rows), b = loaded->encode(rows);
    CHECK(same_bits(a.hidden, b.hidden));
    CHECK(same_bits(a.key, b.key));
    CHECK(same_bits(sidecar->decode(a).hidden, loaded->decode(a).hidden));
    CHECK(same_bits(sidecar->decode(a).value, loaded->decode(a).value));
    CHECK(same_bits(sidecar->hidden().explained(), loaded->hidden().explained()));
    CHECK(sidecar->hidden().pack(a.hidden) == loaded->hidden().pack(b.hidden));
}

TEST_CASE("the same fit makes the same file, other settings another") {
    CHECK(default_small_sidecar()->hash() == default_small_sidecar()->hash());
    CHECK(default_small_sidecar()->hash() != small_sidecar(full_rank(2))->hash());
}

TEST_CASE("one changed byte anywhere is refused") {
    TemporaryFolder folder("sidecar-flip");
    const std::string path = folder.file("s.safetensors");
    default_small_sidecar()->save(path);
    const std::string good = read_file(path);
    at::manual_seed(1);
    int64_t read = 0;
    for (int i = 0; i < 200; ++i) {
        std::string bad = good;
        const auto at =
            static_cast<size_t>(at::randint(static_cast<int64_t>(good.size()), {1}, at::kLong).item<int64_t>());
        bad[at] = static_cast<char>(bad[at] ^ (1 << (i % 8)));
        write_atomically(path, bad);
        try {
            Sidecar::load(path, nullptr);
            ++read;
        } catch (const FileError&) {
        }
    }
    CHECK(read == 0);
    for (const size_t size : {size_t{0}, size_t{7}, size_t{8}, size_t{100}, good.size() / 2, good.size() - 1}) {
        write_atomically(path, good.substr(0, size));
        CHECK_THROWS_AS(Sidecar::load(path, nullptr), FileError);
    }
}

TEST_CASE("a file whose parts do not fit together is refused, digest or no digest") {
    SUBCASE("foreign") {
        TensorFile file;
        file.tensors["x"] = at::zeros({2});
        refuses(file);
        TemporaryFolder folder("absent");
        CHECK_THROWS_AS(Sidecar::load(folder.file("none"), nullptr), FileError);
    }
    SUBCASE("no digest") {
        TensorFile file = saved_file();
        file.metadata.erase("digest");
        refuses(file, false);
    }
    SUBCASE("a missing tensor") {
        for (const auto& [name, tensor] : saved_file().tensors) {
            TensorFile file = saved_file();
            file.tensors.erase(name);
            refuses(file);
        }
    }
    SUBCASE("another shape, type, or a value that is not finite") {
        for (const auto& [name, tensor] : saved_file().tensors) {
            TensorFile file = saved_file();
            file.tensors[name] = at::zeros({3, 3, 3, 3});
            refuses(file);
            file = saved_file();
            file.tensors[name] = file.tensors[name].to(at::kDouble);
            refuses(file);
            file = saved_file();
            file.tensors[name].flatten()[0] = NAN;
            refuses(file);
        }
    }
    SUBCASE("values that make no codec") {
        for (const char* name : {"hidden.0.scale", "hidden.1.total", "key.total"}) {
            TensorFile file = saved_file();
            file.tensors[name].zero_();
            refuses(file);
        }
        for (const char* name : {"hidden.0.variance", "value.variance", "hidden.high", "key.high"}) {
            TensorFile file = saved_file();
            file.tensors[name].fill_(-1e6);
            refuses(file);
        }
    }
}

TEST_CASE("a description that lies is refused") {
    refuses_description([](nlohmann::json& said) { said["version"] = 9; });
    refuses_description([](nlohmann::json& said) { said.erase("model_sha256"); });
    refuses_description([](nlohmann::json& said) { said["fitted_tokens"] = -1; });
    refuses_description([](nlohmann::json& said) { said["exact_first_tokens"] = int64_t{1} << 40; });
    refuses_description([](nlohmann::json& said) { said["hidden"]["layers"] = 1 << 30; });
    refuses_description([](nlohmann::json& said) { said["hidden"]["layers"] = 4; });
    refuses_description([](nlohmann::json& said) { said["hidden"]["group_size"] = 0; });
    refuses_description([](nlohmann::json& said) { said["hidden"]["d_model"] = "12"; });
    refuses_description([](nlohmann::json& said) { said["hidden"]["bits"] = 1; });
    refuses_description([](nlohmann::json& said) { said["hidden"]["kind"] = "vae"; });
    refuses_description([](nlohmann::json& said) { said["kv"]["layers"] = 6; });
    refuses_description([](nlohmann::json& said) { said["kv"]["bits"] = 100; });
    refuses_description([](nlohmann::json& said) { said.erase("kv"); });
    refuses_description([](nlohmann::json& said) { said = nlohmann::json::array(); });
}
