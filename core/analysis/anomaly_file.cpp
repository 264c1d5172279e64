#include <ATen/ATen.h>

#include "core/analysis/anomaly.h"
#include "core/analysis/anomaly_tables.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

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

    // Older references name their phi alone.
    AnomalyChoice choice() const {
        const auto found = file_.metadata.find(prefix_ + "choice"), older = file_.metadata.find(prefix_ + "map");
        if (found == file_.metadata.end() && older == file_.metadata.end())
            refuse("choice", "is missing from the metadata");
        try {
            if (found != file_.metadata.end()) return anomaly_choice_from(found->second);
            AnomalyChoice choice;
            choice.phi.kind = phi_from(older->second);
            return choice;
        } catch (const InputError& error) {
            refuse("choice", std::string("is not one: ") + error.what());
        }
    }

    bool has(const std::string& field) const { return file_.tensors.contains(prefix_ + field); }

   private:
    const TensorFile& file_;
    std::string prefix_, name_;
};

void read_shape(const at::Tensor& samples, AnomalyTables& tables) {  // [.., layers, units, width]
    tables.layers = samples.size(1);
    tables.units = samples.size(2);
    tables.width = samples.size(3);
}

void read_moments(const Reader& reader, AnomalyTables& tables) {
    const auto count = static_cast<int64_t>(tables.fitted.size());
    const at::Tensor mean = reader.tensor("mean", at::kFloat, 4);
    if (mean.size(0) != count) reader.refuse("mean", "has another shape than its neighbours");
    read_shape(mean, tables);
    tables.mean = mean.view({count, tables.sets(), tables.width});
    const at::Tensor packed = reader.tensor("whitening", at::kFloat, 3);
    // By division: the product d * (d + 1) of a hostile width could overflow.
    const int64_t d = tables.width;
    const bool fits = packed.size(0) == count && packed.size(1) == tables.sets() && d < (int64_t{1} << 20) &&
                      packed.size(2) == d * (d + 1) / 2;
    if (!fits) reader.refuse("whitening", "has another shape than its neighbours");
    tables.whitening = unpack(packed, d);
}

std::string kept_field(size_t bucket) { return "kept." + std::to_string(bucket); }

void read_kept(const Reader& reader, AnomalyTables& tables) {
    std::vector<at::Tensor> kept;
    for (size_t i = 0; i < tables.fitted.size(); ++i) {
        const at::Tensor rows = reader.tensor(kept_field(i), at::kFloat, 4);
        if (i == 0) read_shape(rows, tables);
        const bool fits = rows.size(0) >= kLeastRows && rows.size(0) <= kKeptRows && rows.size(1) == tables.layers &&
                          rows.size(2) == tables.units && rows.size(3) == tables.width;
        if (!fits) reader.refuse(kept_field(i), "has another shape than its neighbours");
        kept.push_back(rows.flatten(1, 2));
    }
    tables.kept = std::make_shared<const KeptRows>(live_settings(tables.choice.detector), std::move(kept));
}

void read_scale(const Reader& reader, AnomalyTables& tables) {
    tables.scale = reader.shaped("scale", {static_cast<int64_t>(tables.calibrated.size()), tables.sets()});
    if ((tables.scale <= 0).any().item<bool>()) reader.refuse("scale", "is not positive");
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

// Older references are of read-outs, which are as wide as the heads.
void read_phi(const Reader& reader, AnomalyTables& tables) {
    const PhiSettings& settings = tables.choice.phi;
    tables.head_dim = tables.width;
    if (reader.has("head_dim")) {
        const at::Tensor head_dim = reader.tensor("head_dim", at::kLong, 1);
        tables.head_dim = head_dim[0].item<int64_t>();
        if (head_dim.size(0) != 1 || tables.head_dim < 1 || tables.head_dim > 4096)
            reader.refuse("head_dim", "is not the width of a head");
    }
    const bool learned = settings.kind == PhiKind::hedgehog;
    const at::Tensor query = learned ? reader.tensor("phi.query", at::kFloat, 4) : at::Tensor();
    const at::Tensor key = learned ? reader.tensor("phi.key", at::kFloat, 4) : at::Tensor();
    try {
        tables.phi =
            std::make_shared<const Phi>(learned ? Phi::hedgehog(settings, query, key) : Phi(settings, tables.head_dim));
    } catch (const InputError& error) {
        reader.refuse("choice", std::string("cannot be made ready: ") + error.what());
    }
}

void read_components(const Reader& reader, AnomalyTables& tables) {
    if (!is_matrix(tables.choice.form)) return;
    const int64_t columns = tables.phi->features() * tables.head_dim;
    auto components = std::make_shared<MatrixComponents>();
    components->mean = reader.shaped("components.mean", {tables.sets(), columns});
    components->axes = reader.shaped("components.axes", {tables.sets(), kMatrixComponents, columns});
    if (tables.width != components->width()) reader.refuse("components.axes", "do not fit the features' width");
    tables.components = std::move(components);
}

}  // namespace

void AnomalyReference::save(TensorFile& file, const std::string& prefix) const {
    const AnomalyTables& t = *tables_;
    const auto fitted = static_cast<int64_t>(t.fitted.size());
    const auto put = [&](const std::string& field, const at::Tensor& x) { file.tensors[prefix + field] = x; };
    file.metadata[prefix + "choice"] = t.name;
    put("tokens", at::tensor({t.fitted_tokens, t.calibration_tokens}, at::kLong));
    put("head_dim", at::tensor({t.head_dim}, at::kLong));
    put("fitted_buckets", at::tensor(t.fitted, at::kLong));
    put("calibrated_buckets", at::tensor(t.calibrated, at::kLong));
    put("quantiles", t.quantiles);
    put("token_quantiles", t.token_quantiles);
    if (t.phi->query_maps().defined()) {
        put("phi.query", t.phi->query_maps());
        put("phi.key", t.phi->key_maps());
    }
    if (t.components) {
        put("components.mean", t.components->mean);
        put("components.axes", t.components->axes);
    }
    if (!t.kept) {
        put("mean", t.mean.view({fitted, t.layers, t.units, t.width}));
        put("whitening", pack(t.whitening));
        return;
    }
    put("scale", t.scale);
    for (size_t i = 0; i < t.fitted.size(); ++i)
        put(kept_field(i), t.kept->rows()[i].view({-1, t.layers, t.units, t.width}));
}

std::shared_ptr<const AnomalyReference> AnomalyReference::load(const TensorFile& file, const std::string& prefix,
                                                               const std::string& name) {
    const Reader reader(file, prefix, name);
    auto tables = std::make_shared<AnomalyTables>();
    tables->choice = reader.choice();
    tables->name = to_string(tables->choice);
    if (needs_other(tables->choice.detector)) reader.refuse("choice", "has a detector of two sets");
    const bool samples = tables->choice.detector != DetectorKind::mahalanobis;
    read_counts(reader, *tables);
    tables->fitted = reader.buckets("fitted_buckets");
    samples ? read_kept(reader, *tables) : read_moments(reader, *tables);
    read_quantiles(reader, *tables);
    if (samples) read_scale(reader, *tables);
    read_phi(reader, *tables);
    read_components(reader, *tables);
    auto reference = std::make_shared<AnomalyReference>();
    reference->tables_ = tables;
    return reference;
}

}  // namespace savepoint
