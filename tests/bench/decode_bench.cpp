// Speed of the model on the CPU, beside llama.cpp's on the same dequantised float32 weights, as JSON:
//   bench_decode_bench [MODEL.gguf] [THREADS]
// The contestants take turns, a few dozen tokens each, so that a busy machine slows all alike.
#include <ATen/ATen.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gguf.h>
#include <llama.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/transformer.h"

using namespace savepoint;

namespace {

constexpr int kRounds = 5, kTokens = 32, kPrompt = 128;

double seconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<TokenId> prompt() {
    std::vector<TokenId> ids;
    for (int i = 0; i < kPrompt; ++i) ids.push_back(1000 + 37 * i);
    return ids;
}

// A copy of the model with every tensor in float32, which is what llama.cpp then computes with.
void write_f32(const std::string& from, const std::string& to) {
    ggml_context* tensors = nullptr;
    gguf_context* source = gguf_init_from_file(from.c_str(), {false, &tensors});
    if (!source) throw FileError(from, "cannot be read");
    gguf_context* target = gguf_init_empty();
    gguf_set_kv(target, source);
    ggml_context* floats = ggml_init({size_t{700} << 20, nullptr, false});
    for (int64_t i = 0; i < gguf_get_n_tensors(source); ++i) {
        const ggml_tensor* t = ggml_get_tensor(tensors, gguf_get_tensor_name(source, i));
        ggml_tensor* copy = ggml_new_tensor(floats, GGML_TYPE_F32, ggml_n_dims(t), t->ne);
        ggml_set_name(copy, t->name);
        if (t->type == GGML_TYPE_F32)
            std::memcpy(copy->data, t->data, ggml_nbytes(t));
        else
            ggml_get_type_traits(t->type)->to_float(t->data, static_cast<float*>(copy->data), ggml_nelements(t));
        gguf_add_tensor(target, copy);
    }
    gguf_write_to_file(target, to.c_str(), false);
    gguf_free(target);
    gguf_free(source);
    ggml_free(floats);
    ggml_free(tensors);
}

class Llama {
   public:
    explicit Llama(const std::string& path, int threads) {
        llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
        llama_backend_init();
        model_ = llama_model_load_from_file(path.c_str(), llama_model_default_params());
        llama_context_params params = llama_context_default_params();
        params.n_ctx = 1024;
        params.n_threads = params.n_threads_batch = threads;
        params.type_k = params.type_v = GGML_TYPE_F32;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        context_ = llama_init_from_model(model_, params);
        if (!context_) throw Error("llama.cpp: cannot load " + path);
    }
    ~Llama() {
        llama_free(context_);
        llama_model_free(model_);
    }
    void decode(std::vector<TokenId> ids) const {
        llama_decode(context_, llama_batch_get_one(ids.data(), static_cast<int32_t>(ids.size())));
    }
    std::vector<float> logits() const {
        const float* values = llama_get_logits(context_);
        return {values, values + llama_vocab_n_tokens(llama_model_get_vocab(model_))};
    }
    void reset() const { llama_memory_clear(llama_get_memory(context_), true); }

   private:
    llama_model* model_ = nullptr;
    llama_context* context_ = nullptr;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

double ours(const Transformer& model, KvCache& cache, bool capture) {
    cache.truncate(kPrompt);
    std::vector<StateRows> kept;
    ForwardOptions options;
    options.capture = capture;
    return kTokens / seconds([&] {
               for (int i = 0; i < kTokens; ++i) kept.push_back(model.decode(cache, 500 + i, options).rows);
           });
}

double theirs(const Llama& llama) {
    llama.reset();
    llama.decode(prompt());
    return kTokens / seconds([&] {
               for (int i = 0; i < kTokens; ++i) llama.decode({500 + i});
           });
}

}  // namespace

int main(int argc, char** argv) {
    const char* from_environment = std::getenv("SAVEPOINT_MODEL");
    const std::string path = argc > 1 ? argv[1] : from_environment ? from_environment : SAVEPOINT_DEFAULT_MODEL;
    set_threads(argc > 2 ? std::atoi(argv[2]) : 0);
    const std::filesystem::path f32 =
        std::filesystem::temp_directory_path() / ("savepoint_bench_" + std::to_string(getpid()) + ".gguf");
    try {
        std::shared_ptr<const Weights> weights;
        const double load = seconds([&] { weights = Weights::from_gguf(path); });
        const Transformer model(weights);
        write_f32(path, f32);
        const Llama llama(f32, threads());
        KvCache cache = model.make_cache(kPrompt + kTokens);
        at::Tensor logits;
        std::vector<double> prefill, with, without, peer, ratio, capture_cost;
        for (int round = 0; round <= kRounds; ++round) {
            cache.truncate(0);
            const double prefill_speed = kPrompt / seconds([&] { model.prefill(cache, prompt()); });
            const double a = ours(model, cache, true), b = theirs(llama), c = ours(model, cache, false);
            if (round == 0) continue;  // warms caches and pages
            prefill.push_back(prefill_speed);
            with.push_back(a);
            peer.push_back(b);
            without.push_back(c);
            ratio.push_back(a / b);
            capture_cost.push_back(1 - a / c);
        }
        cache.truncate(kPrompt);
        llama.reset();
        llama.decode(prompt());
        llama.decode({500});
        const at::Tensor difference = model.decode(cache, 500).logits[0] - at::tensor(llama.logits());
        std::cout << nlohmann::json{{"model", weights->config().name},
                                    {"processor", cpu_name()},
                                    {"threads", threads()},
                                    {"load_seconds", load},
                                    {"prefill_tokens_per_second", median(prefill)},
                                    {"decode_tokens_per_second", median(with)},
                                    {"decode_without_capture_tokens_per_second", median(without)},
                                    {"llama_cpp_f32_tokens_per_second", median(peer)},
                                    {"ratio_to_llama_cpp_f32", median(ratio)},
                                    {"capture_cost", median(capture_cost)},
                                    {"largest_logit_difference_to_llama_cpp_f32", difference.abs().max().item<float>()}}
                         .dump(1)
                  << "\n";
    } catch (const std::exception& problem) {
        std::cerr << "bench: " << problem.what() << "\n";
        std::filesystem::remove(f32);
        return 1;
    }
    std::filesystem::remove(f32);
}
