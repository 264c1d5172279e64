#include "core/sidecar/product_quantizer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr double kBitsOfRun = 6;
constexpr int64_t kLongestRun = 16;
constexpr double kPerNat = 1.0 / 6, kKept = 0.98;
constexpr double kHardlyUsed = 0.02;  // of an even share of the rows

template <typename Visit>
void each_run(const std::vector<int64_t>& ends, Visit visit) {
    int64_t from = 0;
    for (size_t run = 0; run < ends.size(); ++run) {
        visit(static_cast<int64_t>(run), from, ends[run]);
        from = ends[run];
    }
}

}  // namespace

ProductCodes ProductCodes::empty(const at::Tensor& deviation) {
    const at::Tensor bits = (0.5 * (1 + 12 * deviation.square()).log2()).contiguous();
    std::vector<int64_t> ends;
    double sum = 0;
    int64_t from = 0;
    for (int64_t i = 0; i < bits.size(0); ++i) {
        const double own = bits[i].item<double>();
        if (i > from && (sum + own > kBitsOfRun || i - from == kLongestRun)) {
            ends.push_back(from = i);
            sum = 0;
        }
        sum += own;
    }
    ends.push_back(bits.size(0));
    const auto runs = static_cast<int64_t>(ends.size());
    return {at::zeros({kWords, bits.size(0)}), at::zeros({kWords, runs}), std::move(ends)};
}

at::Tensor ProductCodes::chosen(const at::Tensor& z) const {
    at::Tensor out = at::empty({z.size(0), runs()}, z.options().dtype(at::kLong));
    const at::Tensor rates = nats();
    each_run(ends, [&](int64_t run, int64_t from, int64_t to) {
        const at::Tensor book = words.slice(1, from, to);
        // |z - w|^2 without |z|^2, which all words share.
        const at::Tensor cost = at::addmm(book.square().sum(1) + kPerNat * rates.select(1, run), z.slice(1, from, to),
                                          book.t(), /*beta=*/1, /*alpha=*/-2);
        out.select(1, run).copy_(cost.argmin(1));
    });
    return out;
}

at::Tensor ProductCodes::values(const at::Tensor& chosen) const {
    at::Tensor out = at::empty({chosen.size(0), words.size(1)}, words.options());
    each_run(ends, [&](int64_t run, int64_t from, int64_t to) {
        out.slice(1, from, to).copy_(words.slice(1, from, to).index_select(0, chosen.select(1, run)));
    });
    return out;
}

void ProductCodes::learn(const at::Tensor& z, const at::Tensor& chosen, at::Generator& generator) {
    const double rows = static_cast<double>(z.size(0)), even = rows / kWords;
    each_run(ends, [&](int64_t run, int64_t from, int64_t to) {
        const at::Tensor one = at::one_hot(chosen.select(1, run), kWords).to(at::kFloat);  // [rows, kWords]
        const at::Tensor given = z.slice(1, from, to);
        at::Tensor book = words.slice(1, from, to), count = counts.select(1, run);
        const at::Tensor sums = kKept * book * count.unsqueeze(1) + (1 - kKept) * at::matmul(one.t(), given);
        count.mul_(kKept).add_(one.sum(0), 1 - kKept);
        const at::Tensor dead = count < kHardlyUsed * even;
        book.copy_(sums / count.clamp_min(1e-9).unsqueeze(1));
        const at::Tensor drawn = at::randint(z.size(0), {kWords}, generator, at::kLong).to(z.device());
        book.copy_(at::where(dead.unsqueeze(1), given.index_select(0, drawn), book));
        count.copy_(at::where(dead, at::full_like(count, even * (1 - kKept)), count));
    });
}

at::Tensor ProductCodes::nats() const {
    const at::Tensor some = counts + 1e-3;
    return -(some / some.sum(0)).log();
}

double ProductCodes::words_used() const {
    const at::Tensor p = counts / counts.sum(0).clamp_min(1e-9);
    return (-(p * p.clamp_min(1e-12).log()).sum(0)).exp().mean().item<double>();
}

// --- coding ---------------------------------------------------------------------------------------------------

namespace {

template <typename Coder>
void walk(Coder& coder, const std::vector<FrequencyTable>& tables, int64_t* words, int64_t rows) {
    for (int64_t row = 0; row < rows; ++row)
        for (const FrequencyTable& table : tables) {
            auto symbol = static_cast<int>(*words);
            coder.symbol(table, symbol);
            *words++ = symbol;
        }
}

}  // namespace

WordCoder WordCoder::fitted(const at::Tensor& chosen) {
    WordCoder out;
    for (int64_t run = 0; run < chosen.size(1); ++run) {
        const at::Tensor counts = at::bincount(chosen.select(1, run), {}, ProductCodes::kWords).to(at::kDouble) + 0.05;
        const at::Tensor flat = counts.contiguous();
        out.frequencies_.push_back(
            FrequencyTable::scaled({flat.const_data_ptr<double>(), static_cast<size_t>(ProductCodes::kWords)}));
        out.tables_.emplace_back(out.frequencies_.back());
    }
    return out;
}

std::string WordCoder::encode(const at::Tensor& chosen) const {
    at::Tensor words = chosen.contiguous().clone();
    SymbolWriter writer;
    walk(writer, tables_, words.data_ptr<int64_t>(), words.size(0));
    return writer.finish();
}

at::Tensor WordCoder::decode(const std::string& bytes, int64_t rows) const {
    at::Tensor words = at::zeros({rows, runs()}, at::kLong);
    SymbolReader reader(bytes);
    walk(reader, tables_, words.data_ptr<int64_t>(), rows);
    reader.finish();
    return words;
}

double WordCoder::bits(const at::Tensor& chosen) const {
    const at::Tensor words = chosen.contiguous();
    double bits = 0;
    for (int64_t i = 0; i < words.numel(); ++i)
        bits += tables_[static_cast<size_t>(i % runs())].bits(static_cast<int>(words.const_data_ptr<int64_t>()[i]));
    return bits;
}

void WordCoder::save(TensorFile& file, const std::string& name) const {
    at::Tensor frequencies = at::empty({runs(), ProductCodes::kWords});
    for (int64_t run = 0; run < runs(); ++run)
        std::copy(frequencies_[static_cast<size_t>(run)].begin(), frequencies_[static_cast<size_t>(run)].end(),
                  frequencies[run].data_ptr<float>());
    file.tensors[name] = frequencies;
}

WordCoder WordCoder::load(const TensorFields& fields, const std::string& name, int64_t runs) {
    const at::Tensor frequencies = fields.tensor(name, {runs, ProductCodes::kWords});
    if ((frequencies < 1).any().item<bool>() || (frequencies > 65535).any().item<bool>())
        fields.refuse(name, "is out of range");
    WordCoder out;
    try {
        for (int64_t run = 0; run < runs; ++run) {
            std::vector<uint16_t> row;
            for (int64_t w = 0; w < ProductCodes::kWords; ++w)
                row.push_back(static_cast<uint16_t>(frequencies[run].const_data_ptr<float>()[w]));
            out.tables_.emplace_back(row);
            out.frequencies_.push_back(std::move(row));
        }
    } catch (const InputError& error) {
        fields.refuse(name, error.what());
    }
    return out;
}

}  // namespace savepoint
