// What scoring tokens as they come costs beside decoding them, choice by choice: bench_score_bench [CHOICE...]
// A choice as its reference is named: elu1.read_out.mahalanobis (the default), relu.rows.knn, ... Each reference is
// fitted on a little text first. Decoding and scoring take turns, eight tokens each, so that a busy machine slows both
// alike; medians. As in the workbench, the queries are those that the model made while it decoded.

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "core/analysis/choice_fit.h"
#include "core/model/device.h"

using namespace savepoint;

namespace {

constexpr int64_t kPrompt = 64, kPiece = 8, kPieces = 40;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

FitSettings little_text() {
    FitSettings text;
    text.sequence_length = 160;
    text.fit_tokens = 160 * 12;
    text.calibration_tokens = 160 * 4;
    text.own_samples = 0;
    return text;
}

std::vector<TokenId> ids_of(int64_t first, int64_t count) {
    std::vector<TokenId> ids;
    for (int64_t i = first; i < first + count; ++i) ids.push_back(1000 + 37 * static_cast<TokenId>(i));
    return ids;
}

struct Cost {
    std::vector<double> decoding, scoring;  // seconds of each piece
};

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

Cost measure(const Transformer& model, const AnomalyReference& reference) {
    KvCache cache = model.make_cache(kPrompt + kPieces * kPiece);
    FormStream stream = reference.stream();
    const bool rotary = reference.choice().phi.rotary;
    Cost cost;
    ForwardOptions options;
    options.queries = stream.reads_queries();
    const auto score = [&](const StateRows& rows, at::Tensor query, int64_t position) {
        at::Tensor key = rows.key;
        if (rotary && query.defined()) query = model.rotate(query, position);
        if (rotary) key = model.rotate(key, position);
        reference.score(stream.next(query, key, rows.value).values, position);
    };
    const ForwardOutput prompt = model.prefill(cache, ids_of(0, kPrompt), options);
    score(prompt.rows, prompt.query, 0);
    for (int64_t piece = 0; piece < kPieces; ++piece) {
        const int64_t position = kPrompt + piece * kPiece;
        const std::vector<TokenId> ids = ids_of(position, kPiece);
        std::vector<StateRows> rows;
        std::vector<at::Tensor> queries;
        const double start = now();
        for (const TokenId id : ids) {
            ForwardOutput output = model.decode(cache, id, options);
            rows.push_back(std::move(output.rows));
            if (output.query.defined()) queries.push_back(output.query);
        }
        const double decoded = now();
        score(concat(rows), queries.empty() ? at::Tensor() : at::cat(queries), position);
        cost.decoding.push_back(decoded - start);
        cost.scoring.push_back(now() - decoded);
    }
    return cost;
}

}  // namespace

int main(int argc, char** argv) {
    set_threads(0);
    const char* path = std::getenv("SAVEPOINT_MODEL");
    const std::string file = path ? path : SAVEPOINT_DEFAULT_MODEL;
    const Transformer model(Weights::from_gguf(file));
    const Tokenizer tokenizer(file);
    std::vector<std::string> names(argv + 1, argv + argc);
    if (names.empty())
        names = {"elu1.read_out.mahalanobis", "elu1.read_out.knn", "relu.rows.mahalanobis",
                 "elu1.singular_values.ecod"};
    for (const std::string& name : names) {
        const AnomalyChoice choice = anomaly_choice_from(name);
        ChoiceFit fit(model, tokenizer, choice, std::make_shared<const Phi>(choice.phi, model.config().head_dim),
                      little_text());
        const double start = now();
        while (!fit.done()) fit.step();
        const double fitted = now() - start;
        const Cost cost = measure(model, *fit.result());
        const double decoding = median(cost.decoding), scoring = median(cost.scoring);
        std::printf("{\"choice\": \"%s\", \"fit_s\": %.1f, \"decode_ms\": %.2f, \"score_ms\": %.2f, \"share\": %.3f}\n",
                    name.c_str(), fitted, 1e3 * decoding / kPiece, 1e3 * scoring / kPiece, scoring / decoding);
        std::fflush(stdout);
    }
}
