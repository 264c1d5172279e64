#include "core/sidecar/agreed_integers.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/model/error.h"

namespace savepoint {

at::Tensor AgreedIntegers::rounded(const at::Tensor& x) { return (x + 0.5).floor().to(at::kChar); }

std::string AgreedIntegers::close_calls(const at::Tensor& x) {
    const at::Tensor flat = x.to(at::kFloat).contiguous().flatten();
    const at::Tensor low = flat.floor();
    const at::Tensor close = (flat - low - 0.5).abs().lt(kMargin).nonzero().flatten();
    const at::Tensor up = rounded(flat).gt(low);
    SymbolWriter writer;
    auto count = static_cast<uint32_t>(close.size(0) + 1);
    code_gamma(writer, count);
    int64_t last = -1;
    for (int64_t i = 0; i < close.size(0); ++i) {
        const int64_t at = close.const_data_ptr<int64_t>()[i];
        if (at - last >= 1 << 25) throw InputError("latent: is too long to code");
        auto gap = static_cast<uint32_t>(at - last);
        uint32_t side = up.const_data_ptr<bool>()[at];
        code_gamma(writer, gap);
        writer.raw(side, 1);
        last = at;
    }
    return writer.finish();
}

AgreedIntegers::Reader::Reader(std::string bytes)
    : bytes_(std::make_unique<std::string>(std::move(bytes))), symbols_(*bytes_), next_(-1) {
    code_gamma(symbols_, left_);
    if (left_-- == 0) throw InputError("latent: is damaged");
    advance();
}

void AgreedIntegers::Reader::advance() {
    if (left_ == 0) return;
    uint32_t gap = 0, side = 0;
    code_gamma(symbols_, gap);
    symbols_.raw(side, 1);
    next_ += gap;
    up_ = side != 0;
}

at::Tensor AgreedIntegers::Reader::next(const at::Tensor& x) {
    const at::Tensor flat = x.to(at::kFloat).contiguous().flatten();
    at::Tensor out = rounded(flat);
    for (; left_ > 0 && next_ < at_ + flat.size(0); --left_, advance()) {
        const int64_t i = next_ - at_;
        out.data_ptr<int8_t>()[i] = static_cast<int8_t>(std::floor(flat.const_data_ptr<float>()[i]) + (up_ ? 1 : 0));
    }
    at_ += flat.size(0);
    return out.view(x.sizes());
}

void AgreedIntegers::Reader::finish() const {
    symbols_.finish();
    if (left_ > 0) throw InputError("latent: is damaged");
}

}  // namespace savepoint
