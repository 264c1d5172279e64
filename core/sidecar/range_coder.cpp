#include "core/sidecar/range_coder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/model/error.h"

namespace savepoint {

namespace {
constexpr uint32_t kTotal = 1u << kProbabilityBits;
constexpr uint32_t kTop = 1u << 24;
constexpr int kSearchShift = kProbabilityBits - 8;
}  // namespace

FrequencyTable::FrequencyTable(std::span<const uint16_t> frequencies) {
    uint32_t sum = 0;
    starts_.push_back(0);
    for (const uint16_t frequency : frequencies) {
        if (frequency == 0) throw InputError("frequency table: holds a symbol that cannot occur");
        sum += frequency;
        if (sum > kTotal) break;
        starts_.push_back(static_cast<uint16_t>(sum));
    }
    if (sum != kTotal || frequencies.size() > 256) throw InputError("frequency table: does not add up");
    int symbol = 0;
    for (uint32_t slot = 0; slot < first_.size(); ++slot) {
        while (starts_[symbol + 1] <= slot << kSearchShift) ++symbol;
        first_[slot] = static_cast<uint8_t>(symbol);
    }
}

std::vector<uint16_t> FrequencyTable::scaled(std::span<const double> counts) {
    const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
    const auto spare = static_cast<double>(kTotal - counts.size());
    std::vector<uint16_t> frequencies;
    int64_t sum = 0;
    for (const double count : counts) {
        frequencies.push_back(static_cast<uint16_t>(1 + (total > 0 ? spare * count / total : 0)));
        sum += frequencies.back();
    }
    *std::max_element(frequencies.begin(), frequencies.end()) += static_cast<uint16_t>(kTotal - sum);
    return frequencies;
}

int FrequencyTable::symbol_at(uint32_t value) const {
    int symbol = first_[value >> kSearchShift];
    while (starts_[symbol + 1] <= value) ++symbol;
    return symbol;
}

double FrequencyTable::bits(int symbol) const { return kProbabilityBits - std::log2(frequency(symbol)); }

void RangeEncoder::put(const FrequencyTable& table, int symbol) {
    narrow(table.start(symbol), table.frequency(symbol), kProbabilityBits);
}

void RangeEncoder::put_bits(uint32_t value, int count) {
    if (count > 0) narrow(value, 1, count);
}

void RangeEncoder::narrow(uint32_t start, uint32_t frequency, int bits) {
    const uint32_t unit = range_ >> bits;
    low_ += uint64_t{unit} * start;
    range_ = unit * frequency;
    while (range_ < kTop) {
        range_ <<= 8;
        shift_low();
    }
}

void RangeEncoder::shift_low() {
    if (low_ < 0xFF000000u || low_ > 0xFFFFFFFFu) {
        const auto carry = static_cast<uint8_t>(low_ >> 32);
        for (uint8_t byte = cache_; pending_ > 0; --pending_, byte = 0xFF)
            bytes_.push_back(static_cast<char>(byte + carry));
        cache_ = static_cast<uint8_t>(low_ >> 24);
    }
    ++pending_;
    low_ = (low_ & 0x00FFFFFFu) << 8;
}

std::string RangeEncoder::finish() {
    for (int i = 0; i < 5; ++i) shift_low();
    return bytes_.substr(1);  // the first byte is the empty cache of the start
}

RangeDecoder::RangeDecoder(std::string_view bytes) : bytes_(bytes) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | next();
}

uint8_t RangeDecoder::next() {
    const size_t at = at_++;
    return at < bytes_.size() ? static_cast<uint8_t>(bytes_[at]) : 0;
}

uint32_t RangeDecoder::value(int bits) {
    range_ >>= bits;
    return std::min(code_ / range_, (1u << bits) - 1);
}

void RangeDecoder::narrow(uint32_t start, uint32_t frequency) {
    code_ -= start * range_;
    range_ *= frequency;
    while (range_ < kTop) {
        code_ = code_ << 8 | next();
        range_ <<= 8;
    }
}

int RangeDecoder::get(const FrequencyTable& table) {
    const int symbol = table.symbol_at(value(kProbabilityBits));
    narrow(table.start(symbol), table.frequency(symbol));
    return symbol;
}

uint32_t RangeDecoder::get_bits(int count) {
    if (count <= 0) return 0;
    const uint32_t bits = value(count);
    narrow(bits, 1);
    return bits;
}

void RangeDecoder::finish() const {
    if (at_ != bytes_.size())
        throw InputError("coded latent: " + std::to_string(bytes_.size()) + " bytes where " + std::to_string(at_) +
                         " are needed");
}

}  // namespace savepoint
