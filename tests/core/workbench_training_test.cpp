#include <filesystem>

#include "tests/core/training_fixture.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;
using savepoint::testing::small_training;

TEST_CASE("a codec is trained in the background: paused, finished early, judged, stored") {
    const TemporaryFolder folder("train");
    WorkbenchOptions options = options_without_sidecar();
    options.data_folder = folder.path().string();
    const auto bench = Bench::ready(options);
    TrainingSettings settings = small_training();
    settings.rounds = 500;
    settings.kl_share = 0;
    bench->send(command::TrainCodec{settings});
    REQUIRE(bench->wait_for([](const Snapshot& s) { return s.training && s.training->curve.size() >= 2; },
                            std::chrono::minutes(5)));
    bench->after(command::PauseTraining{true});
    REQUIRE(bench->wait_for([](const Snapshot& s) { return s.training->paused; }));
    const size_t rounds = bench->now()->training->curve.size();
    // The workbench does other things meanwhile, and training does not.
    const auto generated = bench->after(raw("The sea is", greedy(4)));
    CHECK(generated->training->curve.size() == rounds);
    CHECK(generated->training->phase == Phase::working);
    bench->send(command::StopTraining{true});
    bench->settle();

    const auto view = bench->now()->training;
    CHECK(errors_of(*bench->now()) == "");
    REQUIRE(view->phase == Phase::ready);
    CHECK(view->curve.size() <= rounds + 1);
    REQUIRE(view->codecs.size() == 3);  // transforms at two rates, and the learned one
    CHECK(view->codecs[0].kind == "transform");
    CHECK(view->codecs[2].kind == "learned");
    CHECK(view->against_transform > 0.2);
    CHECK(view->against_transform < 5);
    CHECK(std::filesystem::exists(view->file));
    const auto together = bench->now()->rate_distortion;
    REQUIRE(together);
    CHECK(together->codecs.back().name == view->codecs[2].name);
    CHECK(together->codecs.back().file == view->file);
}

TEST_CASE("a training that cannot be is refused, and one that is cancelled leaves no codec") {
    Bench& bench = Bench::shared(false);
    TrainingSettings wrong = small_training();
    wrong.sequences_per_round = 3;
    bench.after(command::TrainCodec{wrong});
    CHECK(errors_of(*bench.now()).find("multiple of batch") != std::string::npos);
    bench.after(command::DismissError{bench.now()->errors.front().id});

    bench.send(command::TrainCodec{small_training()});
    REQUIRE(bench.wait_for([](const Snapshot& s) { return s.training && s.training->phase == Phase::working; }));
    bench.after(command::StopTraining{false}, true);
    CHECK(bench.now()->training->phase == Phase::absent);
    CHECK(bench.now()->jobs->back().state == JobView::State::cancelled);
}
