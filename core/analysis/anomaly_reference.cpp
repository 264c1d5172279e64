#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "core/analysis/anomaly.h"
#include "core/analysis/anomaly_tables.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

float percentile(const float* quantiles, float x) {
    constexpr int64_t last = kQuantiles - 1;
    if (!std::isfinite(x) || x > quantiles[last]) return 100;
    const float* above = std::lower_bound(quantiles, quantiles + kQuantiles, x);
    if (above == quantiles) return 0;
    const int64_t i = above - quantiles;
    const float step = quantiles[i] - quantiles[i - 1];
    const float whole = static_cast<float>(i - 1) + (step > 0 ? (x - quantiles[i - 1]) / step : 1.0f);
    return whole * (100.0f / static_cast<float>(last));
}

// distance [tokens, sets] -> percentiles of the same shape, each set by its own quantiles.
at::Tensor percentiles(const at::Tensor& distance, const at::Tensor& quantiles, const std::vector<int64_t>& calibrated,
                       int64_t first_position) {
    const int64_t sets = distance.size(1);
    const at::Tensor x = distance.contiguous();
    at::Tensor out = at::empty_like(x);
    const float* from = x.const_data_ptr<float>();
    float* to = out.data_ptr<float>();
    for_each_bucket(first_position, x.size(0), [&](int64_t bucket, int64_t begin, int64_t end) {
        const float* table = quantiles.const_data_ptr<float>() + nearest_bucket(calibrated, bucket) * sets * kQuantiles;
        for (int64_t i = begin * sets; i < end * sets; ++i)
            to[i] = percentile(table + (i % sets) * kQuantiles, from[i]);
    });
    return out;
}

at::Tensor triangle(int64_t d) {
    const at::Tensor at = at::tril_indices(d, d, 0, at::kLong);
    return at[0] * d + at[1];
}

at::Tensor pack(const at::Tensor& lower) {
    const int64_t d = lower.size(3);
    return lower.flatten(2).index_select(2, triangle(d));
}

at::Tensor unpack(const at::Tensor& packed, int64_t d) {
    at::Tensor full = at::zeros({packed.size(0), packed.size(1), d * d}, at::kFloat);
    full.index_copy_(2, triangle(d), packed);
    return full.view({packed.size(0), packed.size(1), d, d});
}

// Reads the tensors of one reference, refusing whatever a reference cannot hold.
class Reader {
   public:
    Reader(const TensorFile& file, std::string prefix, std::string name)
        : file_(file), prefix_(std::move(prefix)), name_(std::move(name)) {}

    [[noreturn]] void refuse(const std::string& field, const std::string& problem) const {
        throw FileError(name_, prefix_ + field + " " + problem + "; fit the reference again");
    }

    at::Tensor tensor(const std::string& field, at::ScalarType type, int64_t dims) const {
        const auto found = file_.tensors.find(prefix_ + field);
        if (found == file_.tensors.end()) refuse(field, "is missing");
        const at::Tensor& x = found->second;
        if (x.scalar_type() != type || x.dim() != dims || x.numel() == 0) refuse(field, "has another type or shape");
        if (type == at::kFloat && !x.isfinite().all().item<bool>()) refuse(field, "holds a value that is not finite");
        return x.contiguous();
    }

    at::Tensor shaped(const std::string& field, at::IntArrayRef sizes) const {
        at::Tensor x = tensor(field, at::kFloat, static_cast<int64_t>(sizes.size()));
        if (x.sizes() != sizes) refuse(field, "has another shape than its neighbours");
        return x;
    }

    at::Tensor sorted(const std::string& field, at::IntArrayRef sizes) const {
        at::Tensor x = shaped(field, sizes);
        if ((x.diff(1, -1) < 0).any().item<bool>()) refuse(field, "is not in ascending order");
        return x;
    }

    std::vector<int64_t> buckets(const std::string& field) const {
        const at::Tensor x = tensor(field, at::kLong, 1);
        std::vector<int64_t> list(x.const_data_ptr<int64_t>(), x.const_data_ptr<int64_t>() + x.numel());
        for (size_t i = 0; i < list.size(); ++i)
            if (list[i] < 0 || list[i] >= kPositionBuckets || (i > 0 && list[i] <= list[i - 1]))
                refuse(field, "is not an ascending list of position buckets");
        return list;
    }

    FeatureMap map() const {
        const auto found = file_.metadata.find(prefix_ + "map");
        if (found == file_.metadata.end()) refuse("map", "is missing from the metadata");
        try {
            return feature_map_from(found->second);
        } catch (const InputError& error) {
            refuse("map", std::string("is not one: ") + error.what());
        }
    }

   private:
    const TensorFile& file_;
    std::string prefix_, name_;
};

void read_moments(const Reader& reader, AnomalyTables& tables) {
    tables.fitted = reader.buckets("fitted_buckets");
    const auto count = static_cast<int64_t>(tables.fitted.size());
    const at::Tensor mean = reader.tensor("mean", at::kFloat, 4);
    if (mean.size(0) != count) reader.refuse("mean", "has another shape than its neighbours");
    tables.layers = mean.size(1);
    tables.heads = mean.size(2);
    tables.head_dim = mean.size(3);
    tables.mean = mean.view({count, tables.sets(), tables.head_dim});
    const at::Tensor packed = reader.tensor("whitening", at::kFloat, 3);
    // By division: the product d * (d + 1) of a hostile head_dim could overflow.
    const int64_t d = tables.head_dim;
    const bool fits = packed.size(0) == count && packed.size(1) == tables.sets() && d < (int64_t{1} << 20) &&
                      packed.size(2) == d * (d + 1) / 2;
    if (!fits) reader.refuse("whitening", "has another shape than its neighbours");
    tables.whitening = unpack(packed, d);
}

void read_quantiles(const Reader& reader, AnomalyTables& tables) {
    tables.calibrated = reader.buckets("calibrated_buckets");
    const auto count = static_cast<int64_t>(tables.calibrated.size());
    tables.quantiles = reader.sorted("quantiles", {count, tables.sets(), kQuantiles});
    tables.token_quantiles = reader.sorted("token_quantiles", {count, kQuantiles});
}

void read_counts(const Reader& reader, AnomalyTables& tables) {
    const at::Tensor tokens = reader.tensor("tokens", at::kLong, 1);
    if (tokens.size(0) != 2) reader.refuse("tokens", "must hold two counts");
    tables.fitted_tokens = tokens[0].item<int64_t>();
    tables.calibration_tokens = tokens[1].item<int64_t>();
    if (tables.fitted_tokens < 0 || tables.calibration_tokens < 0) reader.refuse("tokens", "is negative");
}

}  // namespace

int64_t position_bucket(int64_t position) {
    int64_t bucket = 0;
    while (bucket + 1 < kPositionBuckets && position >= bucket_end(bucket)) ++bucket;
    return bucket;
}

int64_t bucket_begin(int64_t bucket) { return bucket == 0 ? 0 : int64_t{2} << bucket; }

int64_t bucket_end(int64_t bucket) {
    return bucket + 1 == kPositionBuckets ? std::numeric_limits<int64_t>::max() : int64_t{4} << bucket;
}

int64_t nearest_bucket(const std::vector<int64_t>& have, int64_t bucket) {
    size_t best = 0;
    for (size_t i = 1; i < have.size(); ++i)
        if (std::abs(have[i] - bucket) < std::abs(have[best] - bucket)) best = i;
    return static_cast<int64_t>(best);
}

at::Tensor by_set(const at::Tensor& read_out, int64_t layers, int64_t heads, int64_t head_dim) {
    const bool fits = read_out.defined() && read_out.dim() == 4 && read_out.size(1) == layers &&
                      read_out.size(2) == heads && read_out.size(3) == head_dim;
    if (!fits) {
        std::ostringstream message;
        message << "read-out: must be [tokens, " << layers << ", " << heads << ", " << head_dim << "]";
        if (read_out.defined()) message << ", not " << read_out.sizes();
        throw InputError(message.str());
    }
    return read_out.to(at::kCPU, at::kFloat).reshape({read_out.size(0), layers * heads, head_dim});
}

at::Tensor distances(const AnomalyTables& tables, const at::Tensor& rows, int64_t first_position) {
    at::Tensor out = at::empty({rows.size(0), tables.sets()}, at::kFloat);
    for_each_bucket(first_position, rows.size(0), [&](int64_t bucket, int64_t begin, int64_t end) {
        const int64_t i = nearest_bucket(tables.fitted, bucket);
        const at::Tensor centred = rows.slice(0, begin, end) - tables.mean[i];
        const at::Tensor white = at::bmm(tables.whitening[i], centred.permute({1, 2, 0}));
        out.slice(0, begin, end).copy_(white.square().mean(1).sqrt_().t());
    });
    return out;
}

at::Tensor token_scores(const at::Tensor& distance) { return distance.square().flatten(1).mean(1); }

AnomalyScores AnomalyReference::score(const at::Tensor& read_out, int64_t first_position) const {
    const AnomalyTables& t = *tables_;
    if (first_position < 0) throw InputError("anomaly score: the first position must not be negative");
    const at::Tensor distance = distances(t, by_set(read_out, t.layers, t.heads, t.head_dim), first_position);
    const at::Tensor token = token_scores(distance);
    const at::Tensor ranks = percentiles(distance, t.quantiles, t.calibrated, first_position);
    const at::Tensor token_ranks =
        percentiles(token.unsqueeze(1), t.token_quantiles, t.calibrated, first_position).squeeze(1);
    const int64_t tokens = distance.size(0);
    return {distance.view({tokens, t.layers, t.heads}), ranks.view({tokens, t.layers, t.heads}), token, token_ranks};
}

FeatureMap AnomalyReference::map() const { return tables_->map; }
int64_t AnomalyReference::fitted_tokens() const { return tables_->fitted_tokens; }
int64_t AnomalyReference::calibration_tokens() const { return tables_->calibration_tokens; }
int64_t AnomalyReference::layers() const { return tables_->layers; }
int64_t AnomalyReference::heads() const { return tables_->heads; }
int64_t AnomalyReference::head_dim() const { return tables_->head_dim; }

void AnomalyReference::save(TensorFile& file, const std::string& prefix) const {
    const AnomalyTables& t = *tables_;
    const auto fitted = static_cast<int64_t>(t.fitted.size());
    file.metadata[prefix + "map"] = to_string(t.map);
    file.tensors[prefix + "tokens"] = at::tensor({t.fitted_tokens, t.calibration_tokens}, at::kLong);
    file.tensors[prefix + "fitted_buckets"] = at::tensor(t.fitted, at::kLong);
    file.tensors[prefix + "calibrated_buckets"] = at::tensor(t.calibrated, at::kLong);
    file.tensors[prefix + "mean"] = t.mean.view({fitted, t.layers, t.heads, t.head_dim});
    file.tensors[prefix + "whitening"] = pack(t.whitening);
    file.tensors[prefix + "quantiles"] = t.quantiles;
    file.tensors[prefix + "token_quantiles"] = t.token_quantiles;
}

std::shared_ptr<const AnomalyReference> AnomalyReference::load(const TensorFile& file, const std::string& prefix,
                                                               const std::string& name) {
    const Reader reader(file, prefix, name);
    auto tables = std::make_shared<AnomalyTables>();
    tables->map = reader.map();
    read_counts(reader, *tables);
    read_moments(reader, *tables);
    read_quantiles(reader, *tables);
    auto reference = std::make_shared<AnomalyReference>();
    reference->tables_ = tables;
    return reference;
}

}  // namespace savepoint
