#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace savepoint {

// Cumulative frequencies of an alphabet; they add up to 2^kProbabilityBits, and each symbol has at least 1.
constexpr int kProbabilityBits = 14;
class FrequencyTable {
   public:
    FrequencyTable() = default;
    // Throws InputError unless the frequencies are positive and add up to 2^kProbabilityBits.
    explicit FrequencyTable(std::span<const uint16_t> frequencies);
    // Scales counts (any magnitude, not negative) to frequencies.
    static std::vector<uint16_t> scaled(std::span<const double> counts);

    int symbols() const { return static_cast<int>(starts_.size()) - 1; }
    uint32_t start(int symbol) const { return starts_[symbol]; }
    uint32_t frequency(int symbol) const { return starts_[symbol + 1] - starts_[symbol]; }
    int symbol_at(uint32_t value) const;  // the one whose interval holds value
    double bits(int symbol) const;        // -log2 of its probability

   private:
    std::vector<uint16_t> starts_;
    std::array<uint8_t, 256> first_{};  // where to begin the search, by the high bits of a value
};

// An arithmetic coder with carry propagation (G. N. N. Martin, "Range encoding", 1979; the byte-wise form of LZMA).
class RangeEncoder {
   public:
    void put(const FrequencyTable& table, int symbol);
    void put_bits(uint32_t value, int count);  // equally likely bits, at most 16
    std::string finish();

   private:
    void narrow(uint32_t start, uint32_t frequency, int bits);
    void shift_low();

    uint64_t low_ = 0;
    uint32_t range_ = 0xFFFFFFFFu;
    uint8_t cache_ = 0;
    uint64_t pending_ = 1;
    std::string bytes_;
};

class RangeDecoder {
   public:
    explicit RangeDecoder(std::string_view bytes);
    int get(const FrequencyTable& table);
    uint32_t get_bits(int count);
    // Throws InputError unless all bytes were used and none were missing.
    void finish() const;

   private:
    uint32_t value(int bits);
    void narrow(uint32_t start, uint32_t frequency);
    uint8_t next();

    std::string_view bytes_;
    size_t at_ = 0;
    uint32_t code_ = 0, range_ = 0xFFFFFFFFu;
};

// The two under one face, so that what is coded is said once: a walk over values writes them with the one and fills
// them in with the other.
class SymbolWriter {
   public:
    void symbol(const FrequencyTable& table, int& symbol) { coder_.put(table, symbol); }
    void raw(uint32_t& value, int count) { coder_.put_bits(value, count); }
    std::string finish() { return coder_.finish(); }

   private:
    RangeEncoder coder_;
};

class SymbolReader {
   public:
    explicit SymbolReader(std::string_view bytes) : coder_(bytes) {}
    void symbol(const FrequencyTable& table, int& symbol) { symbol = coder_.get(table); }
    void raw(uint32_t& value, int count) { value = coder_.get_bits(count); }
    void finish() const { coder_.finish(); }

   private:
    RangeDecoder coder_;
};

// Elias gamma code (1975) of 1 <= value < 2^25, by a SymbolWriter, a SymbolReader or what counts bits like them.
template <typename Coder>
void code_gamma(Coder& coder, uint32_t& value) {
    uint32_t more = 0;
    int bits = 1;
    for (;; ++bits) {
        more = (value >> bits) != 0;
        coder.raw(more, 1);
        if (!more || bits >= 25) break;
    }
    uint32_t low = value & ((1u << (bits - 1)) - 1), high = 0;
    if (bits - 1 > 12) {
        high = low >> 12;
        coder.raw(high, bits - 13);
        low &= 0xFFF;
    }
    coder.raw(low, std::min(bits - 1, 12));
    value = (1u << (bits - 1)) | (high << 12) | low;
}

}  // namespace savepoint
