#include "core/model/checkpointed.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace savepoint {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Held : torch::CustomClassHolder {
    explicit Held(TensorFunction function) : f(std::move(function)) {}
    TensorFunction f;
};

class Checkpoint : public torch::autograd::Function<Checkpoint> {
   public:
    static at::Tensor forward(AutogradContext* context, const TensorFunction& f, at::TensorList inputs) {
        const std::vector<at::Tensor> given = inputs.vec();
        context->save_for_backward(given);
        context->saved_data["f"] =
            c10::IValue::make_capsule(c10::intrusive_ptr<torch::CustomClassHolder>(c10::make_intrusive<Held>(f)));
        return f(given);  // the engine runs this without gradients
    }

    static variable_list backward(AutogradContext* context, variable_list upstream) {
        std::vector<at::Tensor> inputs;
        variable_list wanted;
        for (const at::Tensor& saved : context->get_saved_variables()) {
            inputs.push_back(saved.detach());
            if (!saved.requires_grad()) continue;
            inputs.back().requires_grad_(true);
            wanted.push_back(inputs.back());
        }
        const auto held = context->saved_data["f"].toCapsule();
        at::Tensor again;
        {
            const at::AutoGradMode with_gradients(true);
            again = static_cast<const Held&>(*held).f(inputs);
        }
        const variable_list found = torch::autograd::grad({again}, wanted, {upstream[0]}, false, false, true);
        variable_list gradients(1);  // of f
        size_t next = 0;
        for (const at::Tensor& input : inputs)
            gradients.push_back(input.requires_grad() ? found[next++] : at::Tensor());
        return gradients;
    }
};

}  // namespace

at::Tensor checkpointed(const TensorFunction& f, const std::vector<at::Tensor>& inputs) {
    // The engine takes defined tensors alone.
    std::vector<at::Tensor> defined;
    for (const at::Tensor& input : inputs)
        if (input.defined()) defined.push_back(input);
    if (defined.size() == inputs.size()) return Checkpoint::apply(f, at::TensorList(inputs));
    std::vector<bool> has;
    for (const at::Tensor& input : inputs) has.push_back(input.defined());
    const TensorFunction of_all = [f, has](const std::vector<at::Tensor>& given) {
        std::vector<at::Tensor> all;
        size_t next = 0;
        for (const bool is_given : has) all.push_back(is_given ? given[next++] : at::Tensor());
        return f(all);
    };
    return Checkpoint::apply(of_all, at::TensorList(defined));
}

}  // namespace savepoint
