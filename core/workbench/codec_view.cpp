#include "core/workbench/codec_view.h"

namespace savepoint {
namespace {

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

}  // namespace

CodecView codec_view(const CodecFigures& f) {
    CodecView view;
    view.name = f.name;
    view.kind = f.kind;
    view.part = to_string(f.part);
    view.bytes_per_token = f.bytes_per_token;
    view.ratio_fp16 = f.ratio_fp16;
    view.sidecar_bytes = f.sidecar_bytes;
    view.kl_nats = f.kl_nats;
    view.kl_p95 = f.kl_p95;
    view.top1_agreement = f.top1_agreement;
    view.delta_nll = f.delta_nll;
    view.hidden_fvu = f.hidden_fvu;
    view.k_fvu = f.k_fvu;
    view.v_fvu = f.v_fvu;
    view.mid_layer_mse = f.mid_layer_mse;
    view.encode_tokens_per_s = f.encode_tokens_per_s;
    view.restore_tokens_per_s = f.restore_tokens_per_s;
    view.hidden_fvu_layers = floats(f.hidden_fvu_layers);
    view.k_fvu_layers = floats(f.k_fvu_layers);
    view.v_fvu_layers = floats(f.v_fvu_layers);
    return view;
}

}  // namespace savepoint
