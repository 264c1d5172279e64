#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/model/config.h"
#include "core/model/rows.h"
#include "core/model/tokenizer.h"
#include "core/state/safetensors.h"

namespace savepoint {

// Which part of a state a codec stores. What it does not store, decode() leaves undefined.
enum class CodedPart { hidden, kv, full };
std::string to_string(CodedPart part);                         // "hidden", "kv", "full"
CodedPart coded_part_from(const std::string& name);            // throws InputError
double fp16_bytes(const ModelConfig& config, CodedPart part);  // of a token, all layers, no codec

// The rows of a run that are coded; a path's first `exact_first` tokens are not: their massive activations
// ("attention sinks") would spend a codec's range, and replaying their ids restores them exactly for no byte.
//   hidden [tokens, layers, d_model], key (before rotary embedding) and value [tokens, layers, kv_heads, head_dim]
// Row 0 stands at path position `first_position`; `tokens` are the ids of the same rows.
struct CodedRun {
    StateRows rows;
    std::span<const TokenId> tokens;
    int64_t first_position = 0;
    // The attention that the path's last tokens pay each row, mean over them and over heads: [tokens, layers].
    // Undefined: not known (coded_run.h finds it).
    at::Tensor attention = {};
};

// Codes a run of consecutive tokens into the bytes that a file would keep, and gives the rows back.
// Causal: what is decoded of a token depends on bytes of it and of tokens before it, so a run may be cut after any
// token and go on. Token ids are stored beside the bytes anyway and may be used by both directions; positions are
// derived. Immutable; one thread at a time.
class RunCodec {
   public:
    virtual ~RunCodec() = default;
    virtual std::string kind() const = 0;  // "quantized", "transform", ...: what loads it
    virtual std::string name() const = 0;  // with its settings, unique in a table: "quantized int4 g32"
    virtual CodedPart part() const = 0;
    virtual std::string encode(const CodedRun& run) const = 0;  // throws InputError when a row is not finite
    // Throws InputError when the bytes are not those of so many tokens.
    virtual StateRows decode(const std::string& bytes, std::span<const TokenId> tokens,
                             int64_t first_position) const = 0;
    // What must be kept once, not per token: bases, tables, networks. Without settings of a few bytes.
    virtual void save(TensorFile& file, nlohmann::json& settings) const = 0;
    int64_t sidecar_bytes() const;  // of save(), as a file stores it
};

// A codec that learns from text before it can code: rows of whole sequences, streamed (none are held, unless a
// codec's header says so), without each sequence's exact first tokens.
class RunCodecFit {
   public:
    virtual ~RunCodecFit() = default;
    virtual void add(const CodedRun& run) = 0;
    virtual std::vector<std::shared_ptr<const RunCodec>> finish() = 0;  // one for each rate asked
};

// Checks that bytes written by a codec must pass: a size, and nothing left over.
class ByteReader {
   public:
    ByteReader(const std::string& bytes, std::string what) : bytes_(bytes), what_(std::move(what)) {}
    void read(void* to, size_t count);  // throws InputError at the end
    template <typename T>
    T number() {
        T value;
        read(&value, sizeof(T));
        return value;
    }
    std::string_view rest();
    void expect_end() const;  // throws InputError

   private:
    const std::string& bytes_;
    std::string what_;
    size_t at_ = 0;
};

// Several strings of bytes as one, each after its size (4 bytes), and back; throws InputError when they are not
// `count`.
std::string joined_parts(const std::vector<std::string>& parts);
std::vector<std::string> split_parts(const std::string& bytes, size_t count);

}  // namespace savepoint
