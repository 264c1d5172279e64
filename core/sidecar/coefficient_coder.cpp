#include "core/sidecar/coefficient_coder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr int kClasses = 48;    // quarter octaves
constexpr int kUnitClass = 16;  // of a standard deviation of one step: class 0 is 1/16 of a step
constexpr int kSpan = 15;       // a table holds -kSpan .. kSpan and an escape
constexpr int kSymbols = 2 * kSpan + 2, kEscape = kSymbols - 1;
constexpr int kGainEvery = 16;  // columns between two looks at the gain
constexpr double kPriorWeight = 4;
constexpr int32_t kLargest = 1 << 24;
constexpr int kLeastSeen = 2;  // class of a column below which a step sees nothing: its deviation is an eleventh of one
constexpr int kMostCoarser = 20;
constexpr int kClassesCoarser = 2;  // quarter octaves of a half octave

int class_of(double variance) {
    const double octaves = 0.5 * std::log2(std::max(variance, 1e-12));
    return std::clamp(static_cast<int>(std::lround(4 * octaves)) + kUnitClass, 0, kClasses - 1);
}

// Low bits that are as good as random: the deviation is more than four steps of what is left.
int raw_bits_of(int scale_class) { return std::max(0, (scale_class - kUnitClass) / 4 - 2); }

// Quarter octaves of a gain, from its square: comparisons alone, so that every machine agrees.
int quarter_octaves(double square) {
    constexpr double kRoot = 1.4142135623730951, kHalfStep = 1.189207115002721;  // 2^(1/2), 2^(1/4)
    int steps = 0;
    for (double bound = kHalfStep; square > bound && steps < 24; bound *= kRoot) ++steps;
    for (double bound = 1 / kHalfStep; square < bound && steps > -24; bound /= kRoot) --steps;
    return steps;
}

// A discretised Laplace density of the class's deviation: what a table says where data are few.
std::vector<double> prior_counts(int scale_class) {
    const int raw = raw_bits_of(scale_class);
    const double deviation = std::exp2((scale_class - kUnitClass) / 4.0) / (1 << raw);
    const double rate = std::sqrt(2.0) / std::max(deviation, 0.05);
    std::vector<double> counts(kSymbols);
    double sum = 0;
    for (int q = -kSpan; q <= kSpan; ++q) sum += counts[static_cast<size_t>(q + kSpan)] = std::exp(-rate * std::abs(q));
    for (double& count : counts) count *= 50 / sum;
    counts[kEscape] = 0.01;
    return counts;
}

class Meter {
   public:
    void symbol(const FrequencyTable& table, int& symbol) { bits_ += table.bits(symbol); }
    void raw(uint32_t&, int count) { bits_ += count; }
    double bits() const { return bits_; }

   private:
    double bits_ = 0;
};

}  // namespace

void CoefficientCoder::Gain::next_token() {
    prior_ = std::clamp(square(), 1.0 / 64, 64.0);
    energy_ = expected_ = 0;
}

void CoefficientCoder::Gain::add(int32_t q, float variance) {
    const double weight = 1 / (static_cast<double>(variance) + 0.5);
    energy_ += static_cast<double>(q) * q * weight;
    expected_ += static_cast<double>(variance) * weight;
}

double CoefficientCoder::Gain::square() const { return (kPriorWeight * prior_ + energy_) / (kPriorWeight + expected_); }

template <typename Coder>
void CoefficientCoder::code(Coder& coder, const Table& table, int32_t& value) const {
    const int raw = table.raw_bits;
    int32_t high = value >> raw;
    int symbol = high >= -kSpan && high <= kSpan ? high + kSpan : kEscape;
    coder.symbol(table.frequencies, symbol);
    if (symbol == kEscape) {
        uint32_t negative = high < 0, beyond = static_cast<uint32_t>(std::abs(high) - kSpan);
        coder.raw(negative, 1);
        code_gamma(coder, beyond);
        high = static_cast<int32_t>(beyond) + kSpan;
        if (negative) high = -high;
    } else {
        high = symbol - kSpan;
    }
    uint32_t low = static_cast<uint32_t>(value) & ((1u << raw) - 1);
    coder.raw(low, raw);
    value = static_cast<int32_t>(static_cast<uint32_t>(high) << raw | low);
}

int64_t CoefficientCoder::seen_at(int32_t coarser) const {
    return ends_[static_cast<size_t>(std::clamp(coarser, -kMostCoarser, kMostCoarser) + kMostCoarser)];
}

int CoefficientCoder::wont_class(int64_t column, int32_t coarser, int32_t wider) const {
    return std::clamp(classes_[static_cast<size_t>(column)] - kClassesCoarser * coarser + wider, 0, kClasses - 1);
}

void CoefficientCoder::find_ends() {
    ends_.clear();
    for (int coarser = -kMostCoarser; coarser <= kMostCoarser; ++coarser) {
        int64_t end = columns();
        while (end > 0 && classes_[static_cast<size_t>(end - 1)] - kClassesCoarser * coarser < kLeastSeen) --end;
        ends_.push_back(coarser == 0 ? columns() : end);
    }
}

at::Tensor CoefficientCoder::seen(const at::Tensor& coarser) const {
    const at::Tensor c = coarser.to(at::kInt).contiguous();
    at::Tensor ends = at::empty({c.size(0)}, at::kLong);
    for (int64_t t = 0; t < c.size(0); ++t) ends.data_ptr<int64_t>()[t] = seen_at(c.const_data_ptr<int32_t>()[t]);
    return ends;
}

template <typename Visit>
void CoefficientCoder::each(Gain& gain, int32_t* values, int64_t tokens, const Context& context, Visit visit) const {
    const at::Tensor shifts = context.coarser.defined() ? context.coarser.to(at::kInt).contiguous() : at::Tensor();
    const at::Tensor widths = context.wider.defined() ? context.wider.to(at::kChar).contiguous() : at::Tensor();
    const int8_t* wider = widths.defined() ? widths.const_data_ptr<int8_t>() : nullptr;
    for (int64_t t = 0; t < tokens; ++t, values += columns()) {
        const int32_t shift = shifts.defined() ? shifts.const_data_ptr<int32_t>()[t] : 0;
        const int64_t end = seen_at(shift);
        int octaves = 0;
        for (int64_t i = 0; i < end; ++i) {
            if (i % kGainEvery == 0) octaves = quarter_octaves(gain.square());
            const int wont = wont_class(i, shift, wider ? wider[i] : 0);
            visit(wont, std::clamp(wont + octaves, 0, kClasses - 1), values[i]);
            gain.add(values[i], mean_square_[static_cast<size_t>(wont)]);
        }
        gain.next_token();
        if (wider) wider += columns();
    }
}

template <typename Coder>
void CoefficientCoder::walk(Coder& coder, Gain& gain, int32_t* values, int64_t tokens, const Context& context) const {
    each(gain, values, tokens, context,
         [&](int, int scale, int32_t& value) { code(coder, tables_[static_cast<size_t>(scale)], value); });
}

CoefficientCoder CoefficientCoder::fitted(const at::Tensor& quantised, const at::Tensor& exact, const Context& context,
                                          double pull) {
    CoefficientCoder out;
    const at::Tensor q = quantised.to(at::kInt).contiguous();
    const int64_t tokens = q.size(0), columns = q.size(1);
    // Of the grid that tokens' steps are wider than, and of what is expected to be wide.
    at::Tensor scale = at::ones({tokens, 1}, at::kFloat);
    if (context.coarser.defined()) scale = at::pow(2.0, context.coarser.to(at::kFloat)).unsqueeze(1);
    if (context.wider.defined()) scale = scale * at::pow(2.0, -0.5 * context.wider.to(at::kFloat));
    const at::Tensor variance =
        (exact.square() * scale).mean(0, false, at::kDouble).add(1e-3 / static_cast<double>(tokens)).contiguous();
    for (int64_t i = 0; i < columns; ++i)
        out.classes_.push_back(static_cast<uint8_t>(class_of(variance.const_data_ptr<double>()[i])));

    out.find_ends();
    // Mean of q^2, and of |q| - |x| where q is not 0: how far towards zero the mean of a cell lies.
    std::vector<double> square(kClasses, 0), number(kClasses, 0), shift(kClasses, 0), here(kClasses, 0);
    out.mean_square_.assign(kClasses, 1);
    const at::Tensor toward = ((q.to(at::kFloat) - exact) * q.sign().to(at::kFloat)).contiguous();
    const int32_t* const first = q.const_data_ptr<int32_t>();
    int32_t* const values = q.data_ptr<int32_t>();
    Gain gain;
    out.each(gain, values, tokens, context, [&](int wont, int, int32_t& value) {
        const auto c = static_cast<size_t>(wont);
        square[c] += static_cast<double>(value) * value;
        number[c] += 1;
        here[c] += value != 0;
        if (value != 0) shift[c] += toward.const_data_ptr<float>()[&value - first];
    });
    for (int c = 0; c < kClasses; ++c) {
        const auto i = static_cast<size_t>(c);
        // Where data are few: what a Laplace density of the class's deviation would have.
        const double deviation = std::exp2((c - kUnitClass) / 4.0);
        const double expected = deviation * deviation * std::exp(-0.7 / deviation);
        out.mean_square_[i] = static_cast<float>((square[i] + 20 * expected) / (number[i] + 20));
        out.pull_.push_back(static_cast<float>(pull * std::clamp(shift[i] / (here[i] + 20), -0.25, 0.5)));
    }

    std::vector<std::vector<double>> counts;
    for (int c = 0; c < kClasses; ++c) counts.push_back(prior_counts(c));
    gain = {};
    out.each(gain, values, tokens, context, [&](int, int scale_class, int32_t& value) {
        const int32_t high = value >> raw_bits_of(scale_class);
        const int symbol = high >= -kSpan && high <= kSpan ? high + kSpan : kEscape;
        counts[static_cast<size_t>(scale_class)][static_cast<size_t>(symbol)] += 1;
    });
    for (const auto& count : counts) out.frequencies_.push_back(FrequencyTable::scaled(count));
    out.build();
    return out;
}

void CoefficientCoder::build() {
    find_ends();
    tables_.clear();
    for (size_t c = 0; c < frequencies_.size(); ++c)
        tables_.push_back({FrequencyTable(frequencies_[c]), raw_bits_of(static_cast<int>(c))});
}

at::Tensor CoefficientCoder::coded_part(const at::Tensor& quantised, const at::Tensor& coarser) const {
    if (!coarser.defined() || columns() == 0) return quantised;
    return quantised * (at::arange(columns()).unsqueeze(0) < seen(coarser).unsqueeze(1));
}

std::string CoefficientCoder::encode(const at::Tensor& quantised, const Context& context) const {
    at::Tensor q = quantised.to(at::kInt).contiguous().clone();
    if (q.numel() > 0 && q.abs().max().item<int32_t>() > kLargest)
        throw InputError("latent: a value is too large to code");
    SymbolWriter writer;
    Gain gain;
    walk(writer, gain, q.data_ptr<int32_t>(), q.size(0), context);
    return writer.finish();
}

at::Tensor CoefficientCoder::decode(const std::string& bytes, int64_t tokens, const Context& context) const {
    Reader reader(*this, bytes);
    at::Tensor q = reader.next(tokens, context);
    reader.finish();
    return q;
}

at::Tensor CoefficientCoder::Reader::next(int64_t tokens, const Context& context) {
    at::Tensor q = at::zeros({tokens, coder_->columns()}, at::kInt);
    coder_->walk(symbols_, gain_, q.data_ptr<int32_t>(), tokens, context);
    return q;
}

double CoefficientCoder::bits(const at::Tensor& quantised, const Context& context) const {
    at::Tensor q = quantised.to(at::kInt).contiguous().clone();
    Meter meter;
    Gain gain;
    walk(meter, gain, q.data_ptr<int32_t>(), q.size(0), context);
    return meter.bits();
}

at::Tensor CoefficientCoder::values(const at::Tensor& quantised, const Context& context) const {
    const at::Tensor q = quantised.to(at::kInt).contiguous();
    const at::Tensor shifts = context.coarser.defined() ? context.coarser.to(at::kInt).contiguous() : at::Tensor();
    const at::Tensor widths = context.wider.defined() ? context.wider.to(at::kChar).contiguous() : at::Tensor();
    const int8_t* wider = widths.defined() ? widths.const_data_ptr<int8_t>() : nullptr;
    at::Tensor out = at::zeros(q.sizes(), at::kFloat);
    const int32_t* value = q.const_data_ptr<int32_t>();
    float* to = out.data_ptr<float>();
    for (int64_t t = 0; t < q.size(0); ++t, value += columns(), to += columns()) {
        const int32_t shift = shifts.defined() ? shifts.const_data_ptr<int32_t>()[t] : 0;
        for (int64_t i = 0; i < columns(); ++i) {
            if (value[i] == 0) continue;
            const float pull = pull_[static_cast<size_t>(wont_class(i, shift, wider ? wider[i] : 0))];
            to[i] = static_cast<float>(value[i]) - (value[i] > 0 ? pull : -pull);
        }
        if (wider) wider += columns();
    }
    return out;
}

void CoefficientCoder::save(TensorFile& file, const std::string& prefix) const {
    const auto floats = [](const auto& values) {
        at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
        std::copy(values.begin(), values.end(), out.template data_ptr<float>());
        return out;
    };
    at::Tensor frequencies = at::empty({kClasses, kSymbols}, at::kFloat);
    for (int c = 0; c < kClasses; ++c)
        std::copy(frequencies_[c].begin(), frequencies_[c].end(), frequencies[c].data_ptr<float>());
    file.tensors[prefix + ".classes"] = floats(classes_);
    file.tensors[prefix + ".mean_square"] = floats(mean_square_);
    file.tensors[prefix + ".pull"] = floats(pull_);
    file.tensors[prefix + ".frequencies"] = frequencies;
}

CoefficientCoder CoefficientCoder::load(const TensorFields& fields, const std::string& prefix) {
    CoefficientCoder out;
    const at::Tensor classes = fields.tensor(prefix + ".classes", {-1});
    const at::Tensor mean_square = fields.tensor(prefix + ".mean_square", {kClasses});
    const at::Tensor pull = fields.tensor(prefix + ".pull", {kClasses});
    const at::Tensor frequencies = fields.tensor(prefix + ".frequencies", {kClasses, kSymbols});
    if ((classes < 0).any().item<bool>() || (classes >= kClasses).any().item<bool>())
        fields.refuse(prefix + ".classes", "is out of range");
    if ((mean_square < 0).any().item<bool>()) fields.refuse(prefix + ".mean_square", "is negative");
    if ((frequencies < 1).any().item<bool>() || (frequencies > 65535).any().item<bool>())
        fields.refuse(prefix + ".frequencies", "is out of range");
    for (int64_t i = 0; i < classes.size(0); ++i)
        out.classes_.push_back(static_cast<uint8_t>(classes[i].item<float>()));
    for (int64_t c = 0; c < kClasses; ++c) {
        out.mean_square_.push_back(mean_square[c].item<float>());
        out.pull_.push_back(pull[c].item<float>());
        std::vector<uint16_t> row;
        for (int64_t s = 0; s < kSymbols; ++s) row.push_back(static_cast<uint16_t>(frequencies[c][s].item<float>()));
        out.frequencies_.push_back(std::move(row));
    }
    try {
        out.build();
    } catch (const InputError& error) {
        fields.refuse(prefix + ".frequencies", error.what());
    }
    return out;
}

}  // namespace savepoint
