#include <filesystem>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/sidecar/codec_training.h"
#include "core/state/safetensors.h"
#include "tests/core/model_fixture.h"
#include "tests/core/training_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

TEST_CASE("a training goes on from its checkpoint to the very same losses and codec") {
    const auto folder = std::filesystem::temp_directory_path() / "savepoint-training-test";
    std::filesystem::create_directories(folder);
    const std::string path = (folder / "checkpoint.safetensors").string(),
                      last = (folder / "last.safetensors").string();
    CodecTraining whole(shared_model(), shared_tokenizer(), small_training());
    while (!whole.done()) {
        whole.step();
        if (whole.between_rounds() && whole.curve().size() == 2) whole.save_checkpoint(path);
        if (whole.between_rounds() && whole.curve().size() == 3) whole.save_checkpoint(last);
    }
    REQUIRE(whole.curve().size() == 3);
    CHECK(std::isnan(whole.curve()[1].kl));
    CHECK(whole.curve()[2].kl > 0);  // in the last third of the rounds
    // What is kept is what has the least held-out KL at equal bytes, whether or not the KL was trained on by then.
    double least = INFINITY;
    for (const TrainingPoint& p : whole.curve())
        least = std::min(least, p.held_out_kl * p.held_out_bits * p.held_out_bits);
    const auto kept = nlohmann::json::parse(read_safetensors(last).metadata.at("training"));
    CHECK(kept.at("best_score").get<double>() == doctest::Approx(least));

    CodecTraining resumed(shared_model(), shared_tokenizer(), small_training());
    resumed.load_checkpoint(path);
    CHECK(resumed.curve().size() == 2);
    while (!resumed.done()) resumed.step();
    REQUIRE(resumed.curve().size() == 3);
    for (size_t i = 0; i < 3; ++i) {
        CHECK(resumed.curve()[i].loss == whole.curve()[i].loss);
        CHECK(resumed.curve()[i].held_out_kl == whole.curve()[i].held_out_kl);
    }
    CHECK(resumed.judged().back().figures.kl_nats == whole.judged().back().figures.kl_nats);
    CHECK(resumed.judged().back().figures.bytes_per_token == whole.judged().back().figures.bytes_per_token);
    // Near the bytes that were asked for: 192 of K and V in fp16, 30 blocks.
    CHECK(whole.judged().back().figures.bytes_per_token == doctest::Approx(23040.0 / 12 + 4).epsilon(0.3));

    TrainingSettings other = small_training();
    other.learning_rate *= 2;
    CodecTraining foreign(shared_model(), shared_tokenizer(), other);
    CHECK_THROWS_AS(foreign.load_checkpoint(path), FileError);
    std::filesystem::remove_all(folder);
}

TEST_CASE("a training on CUDA follows the one on the CPU") {
    if (devices().size() < 2) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    const Transformer there(shared_weights(), open_device("cuda"));
    CodecTraining here(shared_model(), shared_tokenizer(), small_training()),
        far(there, shared_tokenizer(), small_training());
    while (!here.done()) here.step();
    while (!far.done()) far.step();
    REQUIRE(far.curve().size() == here.curve().size());
    for (size_t i = 0; i < here.curve().size(); ++i) {
        CHECK(far.curve()[i].loss == doctest::Approx(here.curve()[i].loss).epsilon(0.02));
        CHECK(far.curve()[i].held_out_kl == doctest::Approx(here.curve()[i].held_out_kl).epsilon(0.1));
    }
}
