#include "core/model/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

namespace savepoint {

namespace {

constexpr int64_t kFewRows = 16;

using Scalars = c10::List<std::optional<at::Scalar>>;
using LayOut = at::Tensor(const at::Tensor& weight, std::optional<c10::SymInt> rows);
using Multiply = at::Tensor(const at::Tensor& x, const at::Tensor& blocked, const std::optional<at::Tensor>& bias,
                            std::string_view activation, Scalars scalars, std::optional<std::string_view> algorithm);

// The two operators of libtorch that its own compiler uses; none where libtorch was built without oneDNN.
struct OneDnn {
    std::optional<c10::TypedOperatorHandle<LayOut>> lay_out;
    std::optional<c10::TypedOperatorHandle<Multiply>> multiply;

    OneDnn() {
        auto& operators = c10::Dispatcher::singleton();
        const auto reorder = operators.findSchema({"mkldnn::_reorder_linear_weight", ""});
        const auto linear = operators.findSchema({"mkldnn::_linear_pointwise", ""});
        if (!reorder || !linear || !at::hasMKLDNN()) return;
        lay_out = reorder->typed<LayOut>();
        multiply = linear->typed<Multiply>();
    }
    static const OneDnn& get() {
        static const OneDnn found;
        return found;
    }
};

struct OneThread {
    OneThread() : before(at::get_num_threads()) { at::set_num_threads(1); }
    ~OneThread() { at::set_num_threads(before); }
    int before;
};

bool fits(const at::Tensor& x, const at::Tensor& weight) {
    const bool plain = x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
    return plain && !(at::GradMode::is_enabled() && x.requires_grad()) && x.numel() >= kFewRows * weight.size(1);
}

}  // namespace

Linear::Linear(at::Tensor weight) : weight_(std::move(weight)) {}

at::Tensor Linear::operator()(const at::Tensor& x) const {
    const OneDnn& one_dnn = OneDnn::get();
    if (!one_dnn.multiply || !fits(x, weight_)) return at::linear(x, weight_);
    if (!blocked_.defined()) {
        // oneDNN picks the layout by the number of threads, and the layout decides how products round: with one layout
        // for all, a run repeated on its own number of threads has its own bits, whatever was run before it.
        const OneThread one;
        blocked_ = one_dnn.lay_out->call(weight_, std::nullopt);
    }
    return one_dnn.multiply->call(x.contiguous(), blocked_, std::nullopt, "none", Scalars(), std::nullopt);
}

}  // namespace savepoint
