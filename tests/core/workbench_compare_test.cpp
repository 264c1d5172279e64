#include <filesystem>
#include <fstream>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

RateDistortionSettings small_comparison() {
    RateDistortionSettings settings;
    settings.fit_tokens = 1280;
    settings.held_out_tokens = 256;
    settings.prefix = 96;
    settings.followers = 32;
    settings.group_size = 1;
    settings.parts = {"kv"};
    settings.ratios = {6, 20};
    settings.baselines = false;
    return settings;
}

WorkbenchOptions with_folder(const TemporaryFolder& folder) {
    WorkbenchOptions options = options_without_sidecar();
    options.data_folder = folder.path().string();
    return options;
}

}  // namespace

TEST_CASE("codecs are compared in the background, published as they come, stored and exported") {
    const TemporaryFolder folder("compare");
    const auto bench = Bench::ready(with_folder(folder));
    CHECK(bench->now()->rate_distortion == nullptr);
    bench->send(command::CompareCodecs{small_comparison()});
    // Generation goes first: it ends while the comparison still runs.
    const auto generated = bench->after(raw("The sea is", greedy(6)));
    CHECK(ids_of(*generated).size() >= 9);
    REQUIRE(generated->rate_distortion);
    CHECK(generated->rate_distortion->phase == Phase::working);
    bench->settle();

    const auto view = bench->now()->rate_distortion;
    CHECK(errors_of(*bench->now()) == "");
    REQUIRE(view->phase == Phase::ready);
    REQUIRE(view->codecs.size() == 2);
    const CodecView &large = view->codecs[0], &small = view->codecs[1];
    CHECK(large.part == "kv");
    CHECK(large.bytes_per_token > 2 * small.bytes_per_token);
    CHECK(large.ratio_fp16 == doctest::Approx(23040 / large.bytes_per_token));
    CHECK(large.kl_nats < small.kl_nats);
    CHECK(large.k_fvu < small.k_fvu);
    CHECK(std::isnan(large.hidden_fvu));
    CHECK(large.k_fvu_layers.size() == 30);
    CHECK(view->replay_tokens_per_s > 0);
    CHECK(std::filesystem::file_size(large.file) > 4096);

    const std::string table = folder.file("codecs.csv");
    bench->after(command::Export{"codecs.csv", table});
    std::ifstream lines(table);
    std::string header, first, second, none;
    std::getline(lines, header);
    std::getline(lines, first);
    std::getline(lines, second);
    CHECK(header.starts_with("name,kind,part,bytes_per_token"));
    CHECK(first.starts_with(large.name + ",transform,kv,"));
    CHECK(second.starts_with(small.name));
    CHECK_FALSE(std::getline(lines, none));

    // Both on a thought of one's own: twice the bytes go on more like the exact run.
    const ThoughtId own =
        bench->after(raw("The lighthouse keeper had lived alone for thirty years, and every evening he", greedy(12)))
            ->current;
    const int64_t length = static_cast<int64_t>(bench->now()->path->tokens.size());
    bench->after(command::TryCodec{own, small.name, 16, 8}, true);
    const auto rough = bench->now()->codec_trial;
    REQUIRE(rough);
    CHECK(rough->thought == own);
    CHECK(rough->codec.name == small.name);
    CHECK(rough->prefix == 16);
    CHECK(rough->followers == length - 16);
    CHECK(rough->codec.kl_nats > 0);
    CHECK(rough->codec.ratio_fp16 == doctest::Approx(23040 / rough->codec.bytes_per_token));
    bench->after(command::TryCodec{own, large.name, 0, 8}, true);
    const auto fine = bench->now()->codec_trial;
    CHECK(fine->prefix == length / 2);
    CHECK(fine->codec.k_fvu < rough->codec.k_fvu);
    CHECK(fine->exact_text == rough->exact_text);
    CHECK((fine->agreement == 8) == (fine->exact_text == fine->resumed_text));
    // The exact text is what the thought goes on with.
    bench->after(command::Continue{own, greedy(8)});
    std::string said;
    const auto& tokens = bench->now()->path->tokens;
    for (size_t i = static_cast<size_t>(length); i < tokens.size(); ++i) said += tokens[i]->text;
    CHECK(fine->exact_text == said);

    bench->after(command::TryCodec{own, "no such codec", 0, 8}, true);
    CHECK(errors_of(*bench->now()).find("no such codec") != std::string::npos);
    bench->after(command::TryCodec{own, small.name, 4, 8}, true);
    CHECK(errors_of(*bench->now()).find("prefix is 4") != std::string::npos);

    // The next start finds them again, with their figures.
    const auto next = Bench::ready(with_folder(folder));
    const auto stored = next->now()->rate_distortion;
    REQUIRE(stored);
    CHECK(stored->phase == Phase::ready);
    REQUIRE(stored->codecs.size() == 2);
    for (const CodecView& one : stored->codecs) {
        const CodecView& before = one.name == large.name ? large : small;
        CHECK(one.at_hand);
        CHECK(one.bytes_per_token == before.bytes_per_token);
        CHECK(one.kl_nats == before.kl_nats);
        CHECK(one.k_fvu_layers == before.k_fvu_layers);
    }
    const ThoughtId again =
        next->after(raw("The lighthouse keeper had lived alone for thirty years", greedy(8)))->current;
    next->after(command::TryCodec{again, large.name, 0, 4}, true);
    CHECK(errors_of(*next->now()) == "");
    REQUIRE(next->now()->codec_trial);
    CHECK(next->now()->codec_trial->codec.kl_nats < 0.5);
}

TEST_CASE("a comparison that is cancelled, or has no text, leaves the workbench as it was") {
    Bench& bench = Bench::shared(false);
    bench.send(command::CompareCodecs{small_comparison()});
    REQUIRE(bench.wait_for(
        [](const Snapshot& s) { return s.jobs && !s.jobs->empty() && s.jobs->back().name == "Comparing codecs"; }));
    bench.after(command::CancelJob{bench.now()->jobs->back().id}, true);
    CHECK(bench.now()->rate_distortion->phase == Phase::absent);
    CHECK(bench.now()->jobs->back().state == JobView::State::cancelled);

    RateDistortionSettings missing = small_comparison();
    missing.corpus = "/nowhere/text.txt";
    bench.after(command::CompareCodecs{missing}, true);
    CHECK(bench.now()->rate_distortion->phase == Phase::failed);
    CHECK(errors_of(*bench.now()).find("/nowhere/text.txt") != std::string::npos);
    CHECK(ids_of(*bench.after(raw("Still here", greedy(3)))).size() >= 4);
}
