#include "core/model/weights.h"

#include <ATen/ops/empty.h>
#include <ggml.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <future>

#include "core/model/error.h"
#include "core/model/gemv.h"
#include "core/model/gguf_config.h"
#include "core/model/parallel.h"
#include "core/model/sha256.h"

namespace savepoint {

namespace {

// Where a tensor of the file goes and what it must look like.
struct Role {
    std::string file_name, name;
    std::vector<int64_t> shape;
    int64_t permuted_heads = 0;  // > 0: rows are permuted within so many heads
};

std::vector<Role> block_roles(const ModelConfig& c, int64_t layer) {
    const std::string from = "blk." + std::to_string(layer) + ".", to = "blocks." + std::to_string(layer) + ".";
    const bool permuted = c.architecture == "llama";
    std::vector<Role> roles = {
        {from + "attn_norm.weight", to + "attn_norm", {c.d_model}},
        {from + "attn_q.weight", to + "q", {c.q_dim(), c.d_model}, permuted ? c.heads : 0},
        {from + "attn_k.weight", to + "k", {c.kv_dim(), c.d_model}, permuted ? c.kv_heads : 0},
        {from + "attn_v.weight", to + "v", {c.kv_dim(), c.d_model}},
        {from + "attn_output.weight", to + "o", {c.d_model, c.q_dim()}},
        {from + "ffn_norm.weight", to + "mlp_norm", {c.d_model}},
        {from + "ffn_gate.weight", to + "gate", {c.d_ff, c.d_model}},
        {from + "ffn_up.weight", to + "up", {c.d_ff, c.d_model}},
        {from + "ffn_down.weight", to + "down", {c.d_model, c.d_ff}},
    };
    if (c.qk_norm) {
        roles.push_back({from + "attn_q_norm.weight", to + "q_norm", {c.head_dim}});
        roles.push_back({from + "attn_k_norm.weight", to + "k_norm", {c.head_dim}});
    }
    if (c.post_norm) {
        roles.push_back({from + "post_attention_norm.weight", to + "attn_post_norm", {c.d_model}});
        roles.push_back({from + "post_ffw_norm.weight", to + "mlp_post_norm", {c.d_model}});
    }
    return roles;
}

std::vector<Role> roles_of(const ModelConfig& config) {
    std::vector<Role> roles = {{"token_embd.weight", "embed", {config.vocab, config.d_model}}};
    for (int64_t layer = 0; layer < config.layers; ++layer)
        for (Role& role : block_roles(config, layer)) roles.push_back(std::move(role));
    roles.push_back({"output_norm.weight", "final_norm", {config.d_model}});
    if (!config.tied_head) roles.push_back({"output.weight", "head", {config.vocab, config.d_model}});
    return roles;
}

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "[";
    for (const int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    return text + "]";
}

void check_role(const GgufFile& file, const Role& role) {
    const GgufTensor* tensor = file.find_tensor(role.file_name);
    if (!tensor) file.fail("tensor " + role.file_name + " is missing");
    if (tensor->shape != role.shape)
        file.fail("tensor " + role.file_name + " has the shape " + shape_text(tensor->shape) + " instead of " +
                  shape_text(role.shape));
    const auto type = static_cast<ggml_type>(tensor->type);
    if (type != GGML_TYPE_F32 && !ggml_get_type_traits(type)->to_float)
        file.fail("tensor " + role.file_name + " has the type " + ggml_type_name(type) + ", which holds no weights");
}

// A tensor without a role changes the numbers in a way that this forward pass does not know.
void refuse_unknown_tensors(const GgufFile& file, const std::vector<Role>& roles) {
    if (file.tensors().size() == roles.size()) return;
    for (const GgufTensor& tensor : file.tensors()) {
        bool known = false;
        for (const Role& role : roles) known = known || role.file_name == tensor.name;
        if (!known)
            file.fail("tensor " + tensor.name + " belongs to a variant of " + file.text("general.architecture") +
                      " that is not supported");
    }
}

std::string read_whole(const std::string& path, uint64_t bytes) {
    std::string content(bytes, '\0');
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw FileError(path, "cannot be opened");
    uint64_t done = 0;
    while (done < bytes) {
        const ssize_t got = ::pread(file, content.data() + done, bytes - done, static_cast<off_t>(done));
        if (got <= 0) break;
        done += static_cast<uint64_t>(got);
    }
    ::close(file);
    if (done != bytes) throw FileError(path, "cannot be read to its end");
    return content;
}

// llama GGUF files store rows 2i and 2i + 1 of a head where Hugging Face has i and i + head_dim / 2.
std::string unpermute_rows(const char* rows, int64_t row_count, int64_t heads, int64_t row_bytes) {
    std::string straight(row_count * row_bytes, '\0');
    const int64_t head_dim = row_count / heads, half = head_dim / 2;
    for (int64_t row = 0; row < row_count; ++row) {
        const int64_t head = row / head_dim, inside = row % head_dim;
        const int64_t target = head * head_dim + (inside % 2) * half + inside / 2;
        std::memcpy(straight.data() + target * row_bytes, rows + row * row_bytes, row_bytes);
    }
    return straight;
}

}  // namespace

class WeightsReader {
   public:
    WeightsReader(const std::string& path, const Progress& progress) : file_(path), progress_(progress) {}

    std::shared_ptr<const Weights> read() {
        weights_->path_ = file_.path();
        weights_->config_ = read_config(file_);
        roles_ = roles_of(weights_->config_);
        for (const Role& role : roles_) check_role(file_, role);
        refuse_unknown_tensors(file_, roles_);
        report(0.0);
        content_ = read_whole(file_.path(), file_.file_bytes());
        report(0.1);
        dequantise_all();
        report(1.0);
        return weights_;
    }

   private:
    void report(double done) const {
        if (progress_) progress_(done);
    }

    void dequantise_all() {
        // The map's entries are made beforehand: tasks then write to different ones without a lock.
        for (const Role& role : roles_) {
            weights_->tensors_[role.name];
            const int type = file_.find_tensor(role.file_name)->type;
            if (role.shape.size() == 2 && gemv_streams(type)) weights_->packed_[role.name];
        }
        const auto tasks = static_cast<int64_t>(roles_.size()) + 1;
        parallel_tasks(
            tasks,
            [&](int64_t i) {
                if (i == 0)
                    weights_->sha256_ = sha256_hex(content_);
                else
                    dequantise(roles_[i - 1]);
            },
            [&](int64_t begun) { report(0.1 + 0.9 * static_cast<double>(begun) / static_cast<double>(tasks)); });
    }

    void dequantise(const Role& role) {
        const GgufTensor& tensor = *file_.find_tensor(role.file_name);
        const auto type = static_cast<ggml_type>(tensor.type);
        const char* source = content_.data() + tensor.offset;
        const int64_t rows = role.shape.size() == 2 ? role.shape[0] : 1, columns = role.shape.back();
        std::string straight;
        if (role.permuted_heads) {
            straight =
                unpermute_rows(source, rows, role.permuted_heads, static_cast<int64_t>(ggml_row_size(type, columns)));
            source = straight.data();
        }
        at::Tensor result = at::empty(role.shape, at::kFloat);
        if (type == GGML_TYPE_F32)
            std::memcpy(result.data_ptr<float>(), source, tensor.bytes);
        else
            ggml_get_type_traits(type)->to_float(source, result.data_ptr<float>(), rows * columns);
        weights_->tensors_.at(role.name) = std::move(result);
        const auto packed = weights_->packed_.find(role.name);
        if (packed != weights_->packed_.end()) packed->second = pack_for_gemv(tensor.type, source, rows, columns);
    }

    GgufFile file_;
    const Progress& progress_;
    std::shared_ptr<Weights> weights_ = std::make_shared<Weights>();
    std::vector<Role> roles_;
    std::string content_;
};

std::shared_ptr<const Weights> Weights::from_gguf(const std::string& path, const Progress& progress) {
    return WeightsReader(path, progress).read();
}

int64_t Weights::bytes() const {
    int64_t total = 0;
    for (const auto& [name, tensor] : tensors_) total += static_cast<int64_t>(tensor.nbytes());
    for (const auto& [name, packed] : packed_) total += static_cast<int64_t>(packed.blocks.nbytes());
    return total;
}

const at::Tensor& Weights::tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw FileError(path_, "has no tensor '" + name + "'");
    return found->second;
}

const PackedMatrix* Weights::packed(const std::string& name) const {
    const auto found = packed_.find(name);
    return found == packed_.end() ? nullptr : &found->second;
}

}  // namespace savepoint
