#include "core/workbench/exports.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "core/analysis/experiment_report.h"
#include "core/model/error.h"
#include "core/sidecar/latent_file.h"
#include "core/state/json_fields.h"
#include "core/sidecar/latent_edit.h"
#include "core/state/safetensors.h"
#include "core/workbench/desk.h"
#include "core/workbench/experiment_view.h"
#include "core/workbench/phi_ranking_view.h"
#include "core/workbench/text.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

constexpr int64_t kEncodePiece = 256;

class Table {
   public:
    explicit Table(const std::string& header) : text_(header + "\n") {}
    template <typename... Fields>
    void row(const Fields&... fields) {
        (add(fields), ...);
        text_.back() = '\n';
    }
    std::string text() const { return text_; }

   private:
    void add(const std::string& field) { text_ += csv_field(field) + ","; }
    void add(const char* field) { add(std::string(field)); }
    void add(float value) { text_ += csv_number(value) + ","; }
    void add(double value) { text_ += csv_number(value) + ","; }
    void add(int64_t value) { text_ += std::to_string(value) + ","; }
    void add(int32_t value) { add(static_cast<int64_t>(value)); }
    void add(bool value) { add(static_cast<int64_t>(value)); }
    std::string text_;
};

ThoughtId need_path(const Desk& desk) {
    if (desk.current == 0) throw InputError("there is no path to export; generate something first");
    return desk.current;
}

nlohmann::json described(const SamplerSettings& s) {
    return {{"greedy", s.greedy}, {"temperature", s.temperature},
            {"top_k", s.top_k},   {"top_p", s.top_p},
            {"min_p", s.min_p},   {"seed", s.seed}};
}

nlohmann::json described(const Desk& desk, const Thought& thought) {
    nlohmann::json log_probability = nlohmann::json::array(), entropy = nlohmann::json::array();
    nlohmann::json anomaly = nlohmann::json::array(), hidden_fvu = nlohmann::json::array();
    for (const TokenStats& stats : thought.stats) {
        log_probability.push_back(number_or_null(stats.log_probability));
        entropy.push_back(number_or_null(stats.entropy));
        anomaly.push_back(number_or_null(stats.anomaly));
        hidden_fvu.push_back(number_or_null(stats.hidden_fvu));
    }
    return {{"id", thought.id},
            {"parent", thought.parent},
            {"other_parent", thought.other_parent},
            {"edge", to_string(thought.edge)},
            {"prefix", thought.prefix},
            {"tokens", thought.tokens},
            {"text", displayable(desk.tokenizer().decode(thought.tokens))},
            {"prompt_tokens", thought.prompt_tokens},
            {"label", thought.label},
            {"note", thought.note},
            {"bookmarked", thought.bookmarked},
            {"reward", thought.reward},
            {"sampler", described(thought.sampler)},
            {"provenance", thought.provenance},
            {"log_probability", log_probability},
            {"entropy", entropy},
            {"anomaly", anomaly},
            {"hidden_fvu", hidden_fvu}};
}

Latent path_latents(const Desk& desk, ThoughtId path) {
    const Sidecar& sidecar = desk.need_sidecar();
    const int64_t tokens = desk.graph.path_length(path);
    std::vector<Latent> parts;
    for (int64_t first = 0; first < tokens; first += kEncodePiece) {
        const StateRows rows = desk.graph.path_rows(path, first, std::min(kEncodePiece, tokens - first));
        if (!rows.has_hidden() || !rows.has_kv())
            throw InputError("the states of this path are not in memory; select a token of it first");
        parts.push_back(sidecar.encode({rows.hidden, rows.key, rows.value, {}}));
    }
    const auto joined = [&](at::Tensor Latent::*part) {
        std::vector<at::Tensor> all;
        for (const Latent& z : parts)
            if ((z.*part).defined()) all.push_back(z.*part);
        return all.empty() ? at::Tensor() : at::cat(all);
    };
    return {joined(&Latent::hidden), joined(&Latent::key), joined(&Latent::value), {}};
}

}  // namespace

std::string transcript_csv(Desk& desk) {
    Table table("position,thought,id,text,prompt,special,edited,log_probability,entropy,anomaly,hidden_fvu,marked");
    for (const PathSpan& span : desk.graph.path(need_path(desk))) {
        const Thought& thought = desk.graph.at(span.thought);
        for (int64_t i = 0; i < span.count; ++i) {
            const TokenView token = token_view(desk, thought, i);
            table.row(token.position, token.thought, token.id, token.text, token.prompt, token.special, token.edited,
                      token.log_probability, token.entropy, token.anomaly, token.hidden_fvu, token.marked);
        }
    }
    return table.text();
}

std::string anomaly_csv(Desk& desk) {
    need_path(desk);
    const auto view = desk.publisher.anomaly();
    if (!view || view->scored == 0)
        throw InputError("nothing is scored yet; a fitted sidecar with its references is needed");
    // Beside them those of the part kept, empty where they have not come that far.
    const bool pruned = view->pruning.kind != PruningKind::none;
    Table table(std::string("position,layer,head,distance,percentile,token_score,token_percentile") +
                (pruned ? ",pruning,pruned_distance,pruned_percentile,pruned_token_percentile" : ""));
    const std::string pruning = to_string(view->pruning);
    for (int64_t t = 0; t < view->scored; ++t) {
        const auto token = static_cast<size_t>(t);
        for (int64_t cell = 0; cell < view->layers * view->heads; ++cell) {
            const auto at = static_cast<size_t>(t * view->layers * view->heads + cell);
            const auto row = [&](const auto&... further) {
                table.row(t, cell / view->heads, cell % view->heads, view->distance[at], view->percentile[at],
                          view->token_score[token], view->token_percentile[token], further...);
            };
            if (!pruned)
                row();
            else if (t < view->pruned_scored)
                row(pruning, view->pruned_distance[at], view->pruned_percentile[at],
                    view->pruned_token_percentile[token]);
            else
                row(pruning, "", "", "");
        }
    }
    return table.text();
}

std::string trajectory_csv(Desk& desk) {
    need_path(desk);
    const auto view = desk.publisher.trajectory();
    if (!view) throw InputError("there is no trajectory yet; it needs a fitted sidecar and some tokens");
    Table table("thought,position,id,text,x,y,z,log_probability,anomaly");
    for (const TrajectoryPoint& p : view->points)
        table.row(p.thought, p.position, p.id, p.text, p.at[0], p.at[1], p.at[2], p.log_probability, p.anomaly);
    return table.text();
}

std::string reconstruction_csv(Desk& desk) {
    need_path(desk);
    const auto view = desk.publisher.reconstruction();
    if (!view || view->hidden_mse.empty())
        throw InputError("the reconstruction is not measured yet; it needs a fitted sidecar");
    Table table("part,layer,kv_head,mse,fvu,fvu_first_tokens");
    for (int64_t layer = 0; layer < view->layers; ++layer) {
        const auto l = static_cast<size_t>(layer);
        table.row("hidden", layer, "", view->hidden_mse[l], view->hidden_fvu[l], view->hidden_fvu_first[l]);
    }
    for (int64_t i = 0; i < view->layers * view->kv_heads; ++i) {
        const auto at = static_cast<size_t>(i);
        table.row("key", i / view->kv_heads, i % view->kv_heads, view->key_mse[at], view->key_fvu[at], "");
        table.row("value", i / view->kv_heads, i % view->kv_heads, view->value_mse[at], view->value_fvu[at], "");
    }
    return table.text();
}

std::string codecs_csv(Desk& desk) {
    const auto view = desk.publisher.rate_distortion();
    if (!view || view->codecs.empty()) throw InputError("no codec is judged yet; compare them first");
    Table table(
        "name,kind,part,bytes_per_token,ratio_fp16,sidecar_bytes,kl_nats,kl_p95,top1_agreement,delta_nll,hidden_fvu,"
        "k_fvu,v_fvu,mid_layer_mse,encode_tokens_per_s,restore_tokens_per_s");
    for (const CodecView& c : view->codecs)
        table.row(c.name, c.kind, c.part, c.bytes_per_token, c.ratio_fp16, c.sidecar_bytes, c.kl_nats, c.kl_p95,
                  c.top1_agreement, c.delta_nll, c.hidden_fvu, c.k_fvu, c.v_fvu, c.mid_layer_mse, c.encode_tokens_per_s,
                  c.restore_tokens_per_s);
    return table.text();
}

std::string phi_csv(Desk& desk) {
    const auto view = desk.publisher.phi_ranking();
    if (!view || view->rows.empty()) throw InputError("no feature map is compared yet; rank them under Phi");
    Table table("phi,rotary,features,tokens,layer,relative_error,cosine,masked");
    for (const PhiFidelity& f : view->rows) {
        table.row(to_string(f.kind), f.rotary, f.features, f.tokens, "", f.relative_error, f.cosine, f.masked);
        for (size_t layer = 0; layer < f.layer_error.size(); ++layer)
            table.row(to_string(f.kind), f.rotary, f.features, f.tokens, static_cast<int64_t>(layer),
                      f.layer_error[layer], f.layer_cosine[layer], "");
    }
    return table.text();
}

const ExperimentView& experiment_of(Desk& desk) {
    const auto view = desk.publisher.experiment();
    if (!view || view->result->rows.empty()) throw InputError("no experiment has rows yet; run one under Experiments");
    return *view;
}

std::string experiment_csv(Desk& desk) { return to_csv(*experiment_of(desk).result); }

std::string injection_csv(Desk& desk) {
    const InjectionCurves& injection = experiment_of(desk).result->injection;
    if (injection.curves.empty())
        throw InputError("nothing was injected in this experiment; run one of gibberish_N or repetition_N");
    return to_csv(injection);
}

std::string experiment_html(Desk& desk) {
    const ExperimentView& view = experiment_of(desk);
    return to_html(*view.result, *view.settings);
}

std::string experiment_json(Desk& desk) {
    const ExperimentView& view = experiment_of(desk);
    return to_json(*view.result, *view.settings, true).dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string projection_csv(Desk& desk) {
    const auto view = desk.publisher.projection();
    if (!view || view->maps.empty() || view->points->points.empty())
        throw InputError("there is no map yet; project the tokens first");
    std::string header =
        "map,thought,position,layer,id,text,x,y,z,cluster,log_probability,entropy,anomaly,hidden_fvu,followed";
    for (const std::string& name : view->points->label_names) header += "," + csv_field(name);
    std::string text = header + "\n";
    const auto& points = view->points->points;
    for (const ProjectionMap& map : view->maps) {
        if (!map.places) continue;
        for (size_t i = 0; i < map.places->size(); ++i) {
            const ProjectionPoint& p = points[i];
            const auto& at = (*map.places)[i];
            text += csv_field(map.label) + "," + std::to_string(p.thought) + "," + std::to_string(p.position) + "," +
                    (p.part >= 0 ? std::to_string(p.part) : std::string()) + "," + std::to_string(p.id) + "," +
                    csv_field(p.text);
            for (const float value : at) text += "," + csv_number(value);
            text += "," + (map.clusters ? std::to_string((*map.clusters)[i]) : std::string());
            for (const float value : {p.log_probability, p.entropy, p.anomaly, p.hidden_fvu})
                text += "," + csv_number(value);
            text += static_cast<int64_t>(points.size() - i) <= view->points->followed ? ",1" : ",0";
            if (!view->points->labels.empty())
                for (const std::string& label : view->points->labels[i]) text += "," + csv_field(label);
            text += "\n";
        }
    }
    return text;
}

std::string drift_csv(Desk& desk) {
    const auto view = desk.publisher.drift();
    if (!view || view->maps.empty()) throw InputError("no thoughts are compared yet; compare two under Drift first");
    const RunPairView& runs = *view->runs;
    Table table("part,position_a,position_b,token_a,token_b,same_token,row,head,distance");
    for (const auto& map : view->maps)
        for (size_t i = 0; i < map->distance.size(); ++i) {
            const auto cells = static_cast<size_t>(map->rows * map->heads);
            const AlignedPair& pair = runs.pairs[i / cells];
            table.row(to_string(map->part), pair.a, pair.b, runs.text_a[i / cells], runs.text_b[i / cells], pair.same,
                      static_cast<int64_t>(i % cells) / map->heads, static_cast<int64_t>(i % cells) % map->heads,
                      map->distance[i]);
        }
    return table.text();
}

std::string patch_csv(Desk& desk) {
    const auto view = desk.publisher.patch();
    if (!view || view->maps.empty()) throw InputError("nothing is patched yet; patch two thoughts first");
    const RunPairView& runs = *view->runs;
    Table table("site,layer,head,position_source,position_destination,token,logit_difference,recovered,kl");
    for (const PatchScores& map : view->maps)
        for (int64_t i = 0; i < map.rows * map.columns; ++i) {
            const int64_t row = i / map.columns, column = i % map.columns;
            const auto at = static_cast<size_t>(i), pair = static_cast<size_t>(column);
            const float score = map.logit_difference[at];
            if (!map.of_pairs())
                table.row(to_string(map.site), row, column, "", "", "", score, recovered(*view, score), map.kl[at]);
            else if (map.site == PatchSite::head)
                table.row(to_string(map.site), map.head_layer, row, runs.pairs[pair].a, runs.pairs[pair].b,
                          runs.text_b[pair], score, recovered(*view, score), map.kl[at]);
            else
                table.row(to_string(map.site), row, "", runs.pairs[pair].a, runs.pairs[pair].b, runs.text_b[pair],
                          score, recovered(*view, score), map.kl[at]);
        }
    return table.text();
}

std::string lens_csv(Desk& desk) {
    const auto view = desk.publisher.lens();
    if (!view || !view->map) throw InputError("nothing is read yet; read a thought under Logit lens first");
    const LensMap& map = *view->map;
    Table table("position,token,layer,first,first_probability,second,third,entropy,kl,next_probability,difference");
    for (int64_t i = 0; i < map.read * map.layers; ++i) {
        const auto at = static_cast<size_t>(i), top = at * static_cast<size_t>(kLensTop);
        const int64_t token = i / map.layers;
        table.row(map.first + token, view->text[static_cast<size_t>(token)], i % map.layers, view->top[top],
                  map.top_probability[top], view->top[top + 1], view->top[top + 2], map.entropy[at], map.kl[at],
                  map.next_probability[at], map.difference[at]);
    }
    return table.text();
}

std::string attention_csv(Desk& desk) {
    const auto view = desk.publisher.attention();
    if (!view) throw InputError("no attention is shown yet; select a token under Attention first");
    Table table("layer,head,position,token,weight");
    for (size_t i = 0; i < view->weight.size(); ++i) {
        const auto row = static_cast<int64_t>(i) / view->tokens, position = static_cast<int64_t>(i) % view->tokens;
        table.row(row / view->heads, row % view->heads, position, view->text[static_cast<size_t>(position)],
                  view->weight[i]);
    }
    return table.text();
}

std::string attention_mass_csv(Desk& desk) {
    need_path(desk);
    const auto view = desk.publisher.attention_mass();
    if (!view) throw InputError("attention is not added up yet; choose Received under Attention first");
    Table table("position,layer,head,mass,token_mass");
    for (int64_t position = 0; position < view->tokens; ++position)
        for (int64_t row = 0; row < view->layers * view->heads; ++row)
            table.row(position, row / view->heads, row % view->heads,
                      view->mass[static_cast<size_t>(row * view->tokens + position)],
                      view->mean[static_cast<size_t>(position)]);
    return table.text();
}

std::string diagnosis_csv(Desk& desk) {
    const auto view = desk.publisher.diagnosis();
    if (!view || view->report.metrics.empty())
        throw InputError("nothing is diagnosed yet; look for signs under Collapse first");
    Table table("name,value,reference,threshold,healthy");
    for (const CollapseMetric& metric : view->report.metrics)
        table.row(metric.name, metric.value, metric.reference, metric.threshold,
                  metric.judged() ? (metric.healthy() ? "yes" : "no") : "");
    return table.text();
}

std::string preview_csv(Desk& desk) {
    const auto view = desk.publisher.preview();
    if (!view) throw InputError("there is no preview to export; change a latent of the selected token first");
    Table table("id,text,before,control,edited");
    for (const PreviewRow& row : view->rows) table.row(row.id, row.text, row.before, row.control, row.edited);
    return table.text();
}

std::string graph_json(Desk& desk) {
    nlohmann::json thoughts = nlohmann::json::array();
    for (const auto& [id, thought] : desk.graph.thoughts()) thoughts.push_back(described(desk, thought));
    const LoadedModel& model = desk.need_model();
    const nlohmann::json graph = {{"model", model.transformer->config().name},
                                  {"model_sha256", model.weights->sha256()},
                                  {"current", desk.current},
                                  {"thoughts", thoughts}};
    return graph.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string latents_safetensors(Desk& desk) {
    const ThoughtId path = need_path(desk);
    const Latent z = path_latents(desk, path);
    const std::vector<TokenId> ids = desk.graph.path_tokens(path);
    TensorFile file;
    file.tensors = {{"hidden", z.hidden.contiguous()}, {"token_ids", at::tensor(ids, at::kInt)}};
    if (z.key.defined()) file.tensors["key"] = z.key.contiguous();
    if (z.value.defined()) file.tensors["value"] = z.value.contiguous();
    file.metadata = {{"format", "savepoint-latents"},
                     {"sidecar", desk.need_sidecar().hash()},
                     {"model_sha256", desk.need_model().weights->sha256()},
                     {"thought", std::to_string(path)}};
    return to_safetensors(file);
}

std::string z_safetensors(Desk& desk) {
    const Thought& thought = desk.graph.at(need_path(desk));
    if (!thought.latent)
        throw InputError("thought " + std::to_string(thought.id) + " is not kept as z; use Keep as z on it first");
    return latent_bytes({thought.tokens, *thought.latent, desk.need_model().weights->sha256()});
}

}  // namespace savepoint
