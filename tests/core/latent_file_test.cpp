#include "core/sidecar/latent_file.h"

#include <ATen/ATen.h>

#include <filesystem>

#include "core/model/error.h"
#include "core/sidecar/codec_quantized.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kFirst = 4;

LoadedCodec quantized(int bits) {
    QuantizedSettings settings;
    settings.part = CodedPart::kv;
    settings.key_bits = settings.value_bits = bits;
    return {make_quantized(shared_model().config(), settings), {}, std::string(64, bits == 8 ? 'a' : 'b')};
}

struct Path {
    std::vector<TokenId> ids = shared_tokenizer().encode("The keeper of the lighthouse wrote down every ship that");
    StateRows rows = shared_model().forward_batch({ids}, {}).rows;
};

at::Tensor next_logits(KvCache cache, TokenId last) { return shared_model().decode(cache, last).logits; }

}  // namespace

TEST_CASE("going on from a latent is going on from what its codec decodes, and near the exact path") {
    const Path path;
    const LoadedCodec codec = quantized(8);
    const SavedLatent saved = save_latent(shared_model(), codec, path.rows, path.ids, kFirst);
    const auto folder = std::filesystem::temp_directory_path() / "savepoint-latent-test";
    std::filesystem::create_directories(folder);
    const std::string file = (folder / "sea.safetensors").string();
    write_latent(file, saved);
    const SavedLatent latent = read_latent(file);
    CHECK(latent.tokens == path.ids);
    CHECK(latent.z.bytes == saved.z.bytes);
    // The file is z and four bytes a token, and a header.
    const auto size = static_cast<int64_t>(std::filesystem::file_size(file));
    CHECK(size - static_cast<int64_t>(latent.z.bytes.size() + 4 * path.ids.size()) < 1024);

    const at::Tensor logits = next_logits(resume_latent(shared_model(), codec, latent, 1), path.ids.back());
    const auto count = static_cast<int64_t>(path.ids.size());
    const StateRows decoded =
        codec.codec->decode(latent.z.bytes, std::span(path.ids).subspan(kFirst, path.ids.size() - 1 - kFirst), kFirst);
    KvCache by_hand = shared_model().make_cache(count);
    StateRows rows;
    rows.key = at::cat({path.rows.key.slice(0, 0, kFirst), decoded.key});
    rows.value = at::cat({path.rows.value.slice(0, 0, kFirst), decoded.value});
    shared_model().restore(by_hand, rows);
    CHECK((logits - next_logits(by_hand, path.ids.back())).abs().max().item<double>() < 5e-3);  // batches round apart
    KvCache exact = shared_model().make_cache(count);
    shared_model().restore(exact, path.rows.slice(0, count - 1));
    const at::Tensor truth = at::log_softmax(next_logits(exact, path.ids.back()), -1);
    const double kl = (truth.exp() * (truth - at::log_softmax(logits, -1))).sum().item<double>();
    CHECK(kl > 0);
    CHECK(kl < 1e-2);
    std::filesystem::remove_all(folder);
}

TEST_CASE("latents of another codec or model, damaged ones, and paths too short are refused") {
    const Path path;
    const LoadedCodec codec = quantized(8);
    const SavedLatent saved = save_latent(shared_model(), codec, path.rows, path.ids, kFirst);
    CHECK_THROWS_AS(resume_latent(shared_model(), quantized(4), saved, 1), InputError);
    SavedLatent foreign = saved;
    foreign.model_sha256 = std::string(64, '0');
    CHECK_THROWS_AS(resume_latent(shared_model(), codec, foreign, 1), InputError);
    SavedLatent shorter = saved;
    shorter.tokens.pop_back();
    CHECK_THROWS_AS(resume_latent(shared_model(), codec, shorter, 1), InputError);
    CHECK_THROWS_AS(save_latent(shared_model(), codec, path.rows, std::span(path.ids).first(5), kFirst), InputError);
    QuantizedSettings hidden;
    hidden.part = CodedPart::hidden;
    const LoadedCodec states{make_quantized(shared_model().config(), hidden), {}, std::string(64, 'c')};
    CHECK_THROWS_AS(save_latent(shared_model(), states, path.rows, path.ids, kFirst), InputError);

    const auto folder = std::filesystem::temp_directory_path() / "savepoint-latent-refused";
    std::filesystem::create_directories(folder);
    const std::string file = (folder / "sea.safetensors").string();
    write_latent(file, saved);
    std::string bytes = read_file(file);
    bytes[bytes.size() - 7] = static_cast<char>(~bytes[bytes.size() - 7]);
    write_atomically(file, bytes);
    CHECK_THROWS_AS(read_latent(file), FileError);
    TensorFile other;
    other.tensors["tokens"] = at::zeros({4}, at::kInt);
    write_safetensors(file, other);
    CHECK_THROWS_AS(read_latent(file), FileError);
    std::filesystem::remove_all(folder);
}
