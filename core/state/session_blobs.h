#pragma once

#include <string>
#include <vector>

#include "core/state/safetensors.h"
#include "core/state/session_manifest.h"

namespace savepoint {

// What a session stores of a thought, in blobs. A segment of n tokens:
//   ids [n] I32; with has_stats: log_probability, entropy, anomaly, hidden_fvu [n] F32 and
//   top_ids [n, 10] I32, top_probabilities [n, 10] F32 (rows with fewer candidates end in id -1);
//   with has_kv: key, value [n, layers, kv_heads, head_dim] F32; with has_last: last [n, d_model] F32
// The rows of an intervention at position P: edit.P.hidden [d_model], edit.P.key and edit.P.value
//   [blocks, kv_heads, head_dim], F32.
// A thought kept as z: z [bytes] U8, and of the above only what is not state.

// Which parts are there, sound and finite. `dropped_rows`: some were not finite. Throws InputError where
// sizes do not fit the model.
ThoughtRecord record_of(const Thought& thought, const ModelShape& shape, bool exact_rows, bool* dropped_rows);
TensorFile segment_of(const Thought& thought, const ThoughtRecord& record, int64_t first, int64_t count);
// Edits [first, first + count) of the thought.
TensorFile edits_of(const Thought& thought, size_t first, size_t count);
TensorFile latent_of(const StoredLatent& latent);

// The contents of a folder's blobs/, each checked against its name when it is read.
class BlobReader {
   public:
    BlobReader(std::string folder, ModelShape shape) : folder_(std::move(folder)), shape_(shape) {}

    std::string path(const std::string& blob) const;
    // The whole thought. Throws FileError naming the blob and the tensor.
    Thought thought(const ThoughtRecord& record) const;

   private:
    TensorFile read(const std::string& blob) const;
    void read_segment(const ThoughtRecord& record, const SegmentRef& segment, Thought& thought,
                      std::vector<StateRows>& parts) const;
    void read_edits(const ThoughtRecord& record, Thought& thought) const;
    void read_latent(const ThoughtRecord& record, Thought& thought) const;

    std::string folder_;
    ModelShape shape_;
};

// Bytes of one token's parts, for accounts and for the check that a session fits into memory.
struct TokenBytes {
    int64_t ids, stats, key, value, last;
};
TokenBytes token_bytes(const ModelShape& shape);

}  // namespace savepoint
