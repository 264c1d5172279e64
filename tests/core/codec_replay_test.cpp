#include <ATen/ATen.h>

#include "core/sidecar/codec_replay.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

StateRows prefilled(const std::vector<TokenId>& ids, int64_t chunk) {
    KvCache cache = shared_model().make_cache(static_cast<int64_t>(ids.size()));
    return shared_model().prefill_chunked(cache, ids, chunk).rows;
}

}  // namespace

TEST_CASE("replay: no bytes, and the rows of the same prefill bit for bit") {
    const std::vector<TokenId> ids = first_ids(12), before(ids.begin(), ids.begin() + 4);
    const std::span<const TokenId> own = std::span(ids).subspan(4);
    for (const int64_t chunk : {0, 5}) {
        const StateRows rows = prefilled(ids, chunk == 0 ? 12 : chunk).slice(4, 8);
        const auto codec = make_replay(shared_model(), before, CodedPart::full, chunk);
        const std::string bytes = codec->encode({rows, own, 4});
        CHECK(bytes.empty());
        const StateRows back = codec->decode(bytes, own, 4);
        check_same_rows(back, rows);
        CHECK(same_bits(back.last, rows.last));
        CHECK(codec->sidecar_bytes() < 64);
    }
    const auto kv = make_replay(shared_model(), before);
    CHECK(kv->name() == "replay");
    CHECK_FALSE(kv->decode("", own, 4).has_hidden());
    // Causal: a shorter run is a prefix of the longer one's, up to the arithmetic of another shape.
    const StateRows whole = kv->decode("", own, 4), cut = kv->decode("", own.first(3), 4);
    CHECK(at::allclose(cut.key, whole.key.slice(0, 0, 3), 1e-3, 1e-3));
}

TEST_CASE("replay: refusals and files") {
    const std::vector<TokenId> ids = first_ids(8), before(ids.begin(), ids.begin() + 4);
    const std::span<const TokenId> own = std::span(ids).subspan(4);
    const auto codec = make_replay(shared_model(), before);
    const StateRows rows = prefilled(ids, 8).slice(4, 4);
    CHECK_THROWS_AS(codec->decode("x", own, 4), InputError);
    CHECK_THROWS_AS(codec->decode("", own, 0), InputError);
    CHECK_THROWS_AS(codec->encode({rows, own, 3}), InputError);
    CHECK_THROWS_AS(codec->encode({rows, own.first(3), 4}), InputError);
    CHECK_THROWS_AS(make_replay(shared_model(), before, CodedPart::kv, -1), InputError);
    CHECK(make_replay(shared_model(), {})->decode("", {}, 0).tokens() == 0);
    TensorFile file;
    nlohmann::json settings;
    make_replay(shared_model(), before, CodedPart::hidden, 2)->save(file, settings);
    const auto loaded = load_replay(file, settings, "file", shared_model(), before);
    CHECK(loaded->part() == CodedPart::hidden);
    check_same_rows(loaded->decode("", own, 4),
                    make_replay(shared_model(), before, CodedPart::hidden, 2)->decode("", own, 4));
    settings["kind"] = "pca";
    CHECK_THROWS_AS(load_replay(file, settings, "file", shared_model(), before), FileError);
    settings = {{"kind", "replay"}, {"part", "kv"}};
    CHECK_THROWS_AS(load_replay(file, settings, "file", shared_model(), before), FileError);
}
