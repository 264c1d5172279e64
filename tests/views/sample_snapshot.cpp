#include "tests/views/sample_snapshot.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/views/sample_projection.h"

namespace savepoint::test {
namespace {

constexpr int64_t kLayers = 30, kHeads = 9, kKvHeads = 3, kComponents = 128, kGroups = 8;

// A deterministic standard normal for (a, b), independent of the library's distributions.
float noise(uint64_t a, uint64_t b) {
    uint64_t x = a * 0x9E3779B97F4A7C15ull + b * 0xD1B54A32D192ED03ull + 1;
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
        x ^= x >> 33;
        x *= 0xff51afd7ed558ccdull;
        x ^= x >> 29;
        sum += static_cast<float>(x & 0xffffff) / 0xffffff - 0.5f;
    }
    return sum * 1.7320508f;
}

const std::vector<std::string>& words() {
    static const std::vector<std::string> all = {"<|im_start|>",
                                                 "system",
                                                 "\n",
                                                 "You",
                                                 " are",
                                                 " a",
                                                 " helpful",
                                                 " AI",
                                                 " assistant",
                                                 ".",
                                                 "<|im_end|>",
                                                 "\n",
                                                 "<|im_start|>",
                                                 "user",
                                                 "\n",
                                                 "Why",
                                                 " does",
                                                 " the",
                                                 " sea",
                                                 " look",
                                                 " blue",
                                                 "?",
                                                 "<|im_end|>",
                                                 "\n",
                                                 "<|im_start|>",
                                                 "ass",
                                                 "istant",
                                                 "\n",
                                                 "Sun",
                                                 "light",
                                                 " is",
                                                 " made",
                                                 " of",
                                                 " many",
                                                 " colours",
                                                 ",",
                                                 " and",
                                                 " water",
                                                 " absor",
                                                 "bs",
                                                 " the",
                                                 " red",
                                                 " ones",
                                                 " first",
                                                 ".",
                                                 "\n\n",
                                                 "What",
                                                 " is",
                                                 " left",
                                                 " to",
                                                 " reach",
                                                 " your",
                                                 " eyes",
                                                 " is",
                                                 " mostly",
                                                 " blue",
                                                 " light",
                                                 " \xF0\x9F\x8C\x8A",
                                                 ".",
                                                 "<|im_end|>"};
    return all;
}

ThoughtId owner(int64_t position) { return position < 38 ? 1 : position < 46 ? 3 : 6; }

std::vector<CandidateView> candidates(int64_t position) {
    static const char* alternatives[] = {" the",   " a",  " scattered", " mostly", " because",
                                         " light", " it", "\n",         " of",     " white"};
    const auto& text = words();
    std::vector<CandidateView> all;
    float left = 1.0f, top = 0.35f + 0.5f * std::fabs(std::sin(position * 1.7f));
    for (int i = 0; i < 10; ++i) {
        const float p = left * (i == 0 ? top : 0.42f);
        left -= p;
        const bool real = i == position % 3 && position + 1 < static_cast<int64_t>(text.size());
        all.push_back({static_cast<TokenId>(200 + 37 * i + position), real ? text[position + 1] : alternatives[i], p});
    }
    return all;
}

std::shared_ptr<TokenView> token(int64_t position) {
    auto view = std::make_shared<TokenView>();
    view->id = static_cast<TokenId>((position * 7919) % 49152);
    view->text = words()[position % words().size()];
    view->special = view->text.starts_with("<|");
    view->prompt = position < 28;
    view->edited = position == 37;
    view->thought = owner(position);
    view->position = position;
    const float wobble = std::fabs(noise(position, 3));
    if (position > 0) view->log_probability = -0.05f - 1.6f * wobble * wobble;
    view->entropy = 0.3f + 1.4f * std::fabs(noise(position, 4));
    view->anomaly = std::clamp(50 + 30 * noise(position, 5) + (position == 37 ? 120 : 0), 0.0f, 99.9f);
    view->marked = is_marked(view->anomaly, kMarkThreshold);
    view->hidden_fvu = position < 4 ? 0.0f : 0.05f + 0.03f * std::fabs(noise(position, 6));
    view->next = candidates(position);
    return view;
}

std::shared_ptr<const ModelView> model() {
    ModelView view;
    view.phase = Phase::ready;
    view.progress = 1;
    view.name = "SmolLM2 135M Instruct";
    view.path = "/home/ada/.cache/savepoint/deps/smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf";
    view.sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    view.architecture = "llama";
    view.device = "CPU (AVX-512)";
    view.precision = "fp32";
    view.layers = kLayers, view.d_model = 576, view.d_ff = 1536, view.heads = kHeads, view.kv_heads = kKvHeads;
    view.head_dim = 64, view.vocab = 49152, view.context = 8192;
    view.weight_bytes = 538'060'032, view.file_bytes = 98'362'432;
    view.has_chat_template = true;
    view.default_system_prompt = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    return std::make_shared<ModelView>(view);
}

std::shared_ptr<const SidecarView> sidecar() {
    SidecarView view;
    view.phase = Phase::ready;
    view.progress = 1;
    view.kind = "pca";
    view.path = "/home/ada/.local/share/savepoint/b179c9523d0e6a0f/sidecar.safetensors";
    view.hash = "5d1c0e7f92aa41c3b8f70f5f0f9ce2b61f0a6c1f7a54f86e9d42b1a7330cd9e8";
    view.corpus = "fortunes";
    view.fitted_tokens = 21'504, view.calibration_tokens = 5'120, view.bytes = 31'700'000;
    view.group_size = 4, view.key_components = 128, view.value_components = 128, view.bits = 8;
    for (int64_t g = 0; g < kGroups; ++g) {
        LatentGroupView group;
        group.first_block = 4 * g, group.last_block = std::min<int64_t>(4 * g + 3, kLayers - 1);
        group.label = "blocks " + std::to_string(group.first_block) + "-" + std::to_string(group.last_block);
        for (int64_t c = 0; c < kComponents; ++c) group.explained.push_back(0.22f * std::pow(c + 1.0f, -0.95f));
        view.groups.push_back(group);
    }
    std::vector<float> of_block;
    for (int64_t c = 0; c < kComponents; ++c) of_block.push_back(0.31f * std::pow(c + 1.0f, -1.1f));
    view.key_explained.assign(kLayers, of_block);
    view.value_explained.assign(kLayers, of_block);
    view.hidden_fvu = 0.071, view.key_fvu = 0.024, view.value_fvu = 0.118, view.kl_nats = 0.083,
    view.top1_agreement = 0.902;
    return std::make_shared<SidecarView>(view);
}

ThoughtView thought(ThoughtId id, ThoughtId parent, EdgeKind edge, int64_t prefix, int64_t tokens, std::string text,
                    std::string detail) {
    ThoughtView view;
    view.id = id, view.parent = parent, view.edge = edge, view.prefix = prefix, view.tokens = tokens;
    view.prompt_tokens = edge == EdgeKind::root ? std::min<int64_t>(28, tokens) : 0;
    view.path_tokens = prefix + tokens;
    view.text = std::move(text), view.detail = std::move(detail);
    view.has_kv = true, view.has_hidden = id > 1;
    view.mean_log_probability = -0.9f - 0.3f * std::fabs(noise(id, 9));
    view.max_anomaly = 70 + 25 * std::fabs(std::sin(id * 2.1f));
    view.bytes = tokens * (kLayers * kKvHeads * 64 * 2 * 4 + (kLayers + 1) * 576 * 4);
    return view;
}

std::shared_ptr<const GraphView> graph() {
    using enum EdgeKind;
    GraphView view;
    view.thoughts = {
        thought(1, 0, root, 0, 52, "Why does the sea look blue? Sunlight is made of many colours, and the",
                "prompt of 28 tokens, 24 generated"),
        thought(2, 1, continuation, 52, 31, " sky above it is reflected in the surface",
                "continued from the end, seed 2"),
        thought(3, 1, intervention, 38, 14, " absorbs the red ones first.",
                "blocks 12-15 hidden #3 set to +2.0 sd at 37"),
        thought(4, 1, counterfactual, 34, 22, " wavelengths, each bent a little differently",
                "' colours' replaced by ' wavelengths' at 34"),
        thought(5, 4, continuation, 56, 12, " by the water.", "continued from the end, seed 5"),
        thought(6, 3, continuation, 46, 14, "What is left to reach your eyes is mostly blue light",
                "continued from 45, seed 6"),
        thought(7, 3, intervention, 44, 18, " first, then the greens", "blocks 20-23 hidden #0 zeroed at 43"),
        thought(8, 2, merge, 60, 16, " and so the two effects add up", "0.5 lerp of thought 2 and thought 6 at 59"),
        thought(9, 0, root, 0, 40, "Name three sea animals. 1. Whale 2. Octopus", "prompt of 25 tokens, 15 generated"),
    };
    view.thoughts[7].other_parent = 6;
    view.thoughts[0].marks = 1, view.thoughts[0].first_mark = 37;
    view.thoughts[6].marks = 12, view.thoughts[6].first_mark = 45;
    view.thoughts[0].label = "baseline";
    view.thoughts[0].bookmarked = true;
    view.thoughts[2].label = "more absorption";
    view.thoughts[3].note = "compare with the baseline at token 40";
    for (const auto& t : view.thoughts) view.bytes += t.bytes;
    return std::make_shared<GraphView>(view);
}

std::shared_ptr<const PathView> path(int64_t tokens) {
    PathView view;
    view.thought = 6;
    for (int64_t i = 0; i < tokens; ++i) view.tokens.push_back(token(i));
    return std::make_shared<PathView>(view);
}

std::shared_ptr<const LatentView> latent(TokenRef at) {
    LatentView view;
    view.token = at;
    const auto row = [&](uint64_t part) {
        std::vector<float> values(kComponents);
        for (int64_t c = 0; c < kComponents; ++c) values[c] = 1.1f * noise(part * 1000 + at.position, c);
        return values;
    };
    for (int64_t g = 0; g < kGroups; ++g) view.hidden.push_back(row(g));
    for (int64_t l = 0; l < kLayers; ++l) view.key.push_back(row(100 + l)), view.value.push_back(row(200 + l));
    return std::make_shared<LatentView>(view);
}

std::shared_ptr<const PreviewView> preview(TokenRef at) {
    PreviewView view;
    view.at = at;
    LatentEdit edit;
    edit.first_token = edit.last_token = at.position;
    edit.group = 3, edit.component = 3, edit.amount = 2.0;
    view.edits = {edit};
    view.rows = {{1, " absor", 0.412f, 0.391f, 0.118f},    {2, " scat", 0.171f, 0.180f, 0.352f},
                 {3, " reflects", 0.094f, 0.101f, 0.187f}, {4, " has", 0.052f, 0.049f, 0.041f},
                 {5, " is", 0.047f, 0.050f, 0.066f},       {6, " acts", 0.029f, 0.027f, 0.044f},
                 {7, " tends", 0.021f, 0.022f, 0.012f},    {8, " takes", 0.018f, 0.016f, 0.010f},
                 {9, " looks", 0.009f, 0.010f, 0.031f},    {10, " only", 0.008f, 0.008f, 0.007f},
                 {11, " bends", 0.004f, 0.005f, 0.028f}};
    view.kl_control = 0.0041, view.kl_edited = 0.372;
    view.distance_control = 1.04, view.distance_edited = 1.31;
    view.milliseconds = 47.3;
    return std::make_shared<PreviewView>(view);
}

std::shared_ptr<const AnomalyView> anomaly(int64_t tokens) {
    AnomalyView view;
    view.thought = 6, view.tokens = view.scored = tokens, view.layers = kLayers, view.heads = kHeads;
    for (int64_t t = 0; t < tokens; ++t) {
        float sum = 0;
        for (int64_t l = 0; l < kLayers; ++l)
            for (int64_t h = 0; h < kHeads; ++h) {
                float distance = 1 + 0.22f * noise(t * 31 + l, h * 7 + 1);
                if (t >= 37 && t < 44 && l >= 12 && l < 20) distance += 0.55f;
                if (t > 54) distance += 0.15f;
                view.distance.push_back(distance);
                view.percentile.push_back(100 / (1 + std::exp(-5.5f * (distance - 1))));
                sum += distance * distance;
            }
        view.token_score.push_back(sum / (kLayers * kHeads));
        view.token_percentile.push_back(std::clamp(50 + 220 * (view.token_score.back() - 1.05f), 1.0f, 99.9f));
    }
    return std::make_shared<AnomalyView>(view);
}

TrajectoryPoint point(ThoughtId thought, int64_t position, std::array<float, 3> start, float turn) {
    const float t = position * 0.09f;
    TrajectoryPoint p;
    p.thought = thought, p.position = position;
    p.at = {start[0] + 3 * std::cos(t + turn) + t + 0.4f * noise(thought, position),
            start[1] + 3 * std::sin(t) + 0.4f * noise(thought + 20, position),
            start[2] + 0.8f * t * std::cos(turn) + 0.4f * noise(thought + 40, position)};
    p.text = words()[position % words().size()];
    p.id = static_cast<TokenId>(position * 31);
    p.anomaly = std::clamp(50 + 35 * noise(position, thought), 0.0f, 100.0f);
    p.log_probability = -1.3f * std::fabs(noise(position, thought + 3));
    return p;
}

std::shared_ptr<const TrajectoryView> trajectory() {
    TrajectoryView view;
    view.thoughts = {6, 2, 4};
    for (int64_t i = 0; i < 60; ++i) view.points.push_back(point(owner(i), i, {0, 0, 0}, 0));
    for (int64_t i = 52; i < 83; ++i) view.points.push_back(point(2, i, {0.5f, 0, 0.4f}, 0.5f));
    for (int64_t i = 34; i < 56; ++i) view.points.push_back(point(4, i, {0.2f, 0.6f, 0}, -0.4f));
    view.explained = {0.214f, 0.131f, 0.078f};
    view.has_edit = true;
    view.edit_from = view.points[37].at;
    view.edit_to = {view.edit_from[0] + 1.8f, view.edit_from[1] + 1.1f, view.edit_from[2] - 0.9f};
    view.edit_distance = 1.31;
    return std::make_shared<TrajectoryView>(view);
}

std::shared_ptr<const ReconstructionView> reconstruction() {
    ReconstructionView view;
    view.thought = 6, view.tokens = 60, view.layers = kLayers, view.kv_heads = kKvHeads;
    for (int64_t l = 0; l < kLayers; ++l) {
        view.hidden_fvu.push_back(0.04f + 0.05f * std::fabs(std::sin(l * 0.35f)) + 0.004f * std::fabs(noise(l, 1)));
        view.hidden_fvu_first.push_back(1e-6f * (1 + l));
        view.hidden_mse.push_back(view.hidden_fvu.back() * (0.4f + 0.12f * l));
        for (int64_t h = 0; h < kKvHeads; ++h) {
            view.key_fvu.push_back(0.018f + 0.012f * std::fabs(noise(l, 10 + h)));
            view.value_fvu.push_back(0.09f + 0.05f * std::fabs(noise(l, 20 + h)));
            view.key_mse.push_back(view.key_fvu.back() * 1.9f);
            view.value_mse.push_back(view.value_fvu.back() * 0.21f);
        }
    }
    view.account = {{"hidden latents, 8 groups x 128 x 8 bit", 1024},
                    {"key latents, 30 x 128 x 8 bit", 3840},
                    {"value latents, 30 x 128 x 8 bit", 3840},
                    {"scales", 272},
                    {"exact first 4 tokens", 3906},
                    {"token ids", 4},
                    {"exact rows of 1 edit", 38}};
    for (const auto& line : view.account) view.bytes_per_token += line.bytes_per_token;
    view.raw_fp16_bytes_per_token = 30 * 2 * 192 * 2 + 31 * 576 * 2;
    view.sidecar_bytes = 31'700'000;
    view.resume_prefix = 30, view.resume_tokens = 30;
    view.kl_nats = 0.079, view.kl_p95 = 0.31, view.top1_agreement = 0.9, view.delta_nll = 0.021;
    return std::make_shared<ReconstructionView>(view);
}

// Codecs of two kinds at some rates, with the spread that real ones have.
std::shared_ptr<const RateDistortionView> rate_distortion() {
    RateDistortionView view;
    view.phase = Phase::ready;
    view.replay_tokens_per_s = 410;
    const auto add = [&](std::string name, const char* kind, const char* part, double bytes, double raw, double kl,
                         double fvu) {
        CodecView codec;
        codec.name = std::move(name), codec.kind = kind, codec.part = part;
        codec.bytes_per_token = bytes, codec.ratio_fp16 = raw / bytes, codec.kl_nats = kl, codec.kl_p95 = 3 * kl;
        codec.top1_agreement = 1 - std::sqrt(kl), codec.delta_nll = kl / 2, codec.k_fvu = codec.v_fvu = fvu;
        if (std::string(part) == "full") codec.hidden_fvu = fvu;
        codec.at_hand = codec.kind == "transform";
        codec.restore_tokens_per_s = 3000, codec.encode_tokens_per_s = 2500, codec.sidecar_bytes = 84'000'000;
        view.codecs.push_back(codec);
    };
    for (const double ratio : {8.0, 16.0, 32.0}) {
        add("transform kv " + std::to_string(int(ratio)) + "x", "transform", "kv", 23040 / ratio, 23040,
            0.0013 * ratio * ratio / 64, 0.002 * ratio);
        add("transform full " + std::to_string(int(ratio)) + "x", "transform", "full", 57600 / ratio, 57600,
            0.0009 * ratio * ratio / 64, 0.001 * ratio);
    }
    for (const int bits : {2, 3, 4, 8})
        add("quantized int" + std::to_string(bits) + " g32", "quantized", "kv", 1440.0 * bits + 1440, 23040,
            0.4 * std::pow(4.0, -bits), 2.0 * std::pow(4.0, -bits));
    return std::make_shared<RateDistortionView>(view);
}

std::shared_ptr<const CodecTrialView> codec_trial(const Snapshot& snapshot) {
    CodecTrialView view;
    view.thought = snapshot.current;
    for (const CodecView& codec : snapshot.rate_distortion->codecs)
        if (codec.name == "transform kv 16x") view.codec = codec;
    view.prefix = 20, view.followers = 21, view.replay_tokens_per_s = 410;
    view.greedy_tokens = 24, view.agreement = 17;
    view.exact_text =
        " and the sailors sang.\nIn the morning there was a letter at his door, written in a hand that he knew";
    view.resumed_text = " and the sailors sang.\nIn the morning there was a letter at his window, and he read it twice";
    return std::make_shared<CodecTrialView>(view);
}

// Forty rounds of sixty, the KL term not on yet.
std::shared_ptr<const TrainingView> training() {
    TrainingView view;
    view.phase = Phase::working;
    view.progress = 0.62;
    view.seconds_left = 290;
    view.stage = "training: round 41 of 60";
    view.settings.codec.architecture = "grouped";
    for (int64_t round = 0; round < 40; ++round) {
        TrainingPoint point;
        point.round = round;
        const double fall = std::exp(-static_cast<double>(round) / 14);
        point.rate_bits = 10900 + 900 * fall;
        point.distortion = 402 + 60 * fall;
        point.loss = point.distortion + point.rate_bits * 0.1155;
        if ((round + 1) % 5 == 0) {
            point.held_out_bits = 11050 + 860 * fall;
            point.held_out_loss = 1690 + 150 * fall;
            point.held_out_kl = 0.0049 + 0.002 * fall;
            for (int g = 0; g < 8; ++g) point.group_bits.push_back(900 + 180 * g);
        }
        view.curve.push_back(point);
    }
    return std::make_shared<TrainingView>(view);
}

std::vector<JobView> jobs() {
    using enum JobView::State;
    return {{1, "Load model", "SmolLM2-135M-Instruct.Q4_1.gguf", 1, 1.42, 0, done, false},
            {2, "Fit sidecar", "decomposing group 8 of 8", 1, 48.1, 0, done, true},
            {3, "Generate", "24 of 24 tokens", 1, 0.91, 0, done, true},
            {8, "Previewing an edit", "", 1, 0.05, 0, done, true},
            {9, "Previewing an edit", "", 1, 0.04, 0, done, true},
            {10, "Previewing an edit", "", 1, 0.05, 0, done, true},
            {4, "Measure resume", "stopped by you", 0.4, 2.2, NAN, cancelled, true},
            {5, "Export trajectory.csv", "/mnt/nas is read-only: choose another folder", 0.0, 0.01, NAN, failed, false},
            {6, "Fit sidecar", "forward pass 31 of 96", 0.34, 12.6, 24.5, running, true},
            {7, "Score anomaly", "waiting", 0, 0, NAN, queued, true}};
}

std::vector<LogLine> log_lines() {
    using enum LogLine::Level;
    const double t = 1'767'225'600;
    return {{t + 1, info, "Savepoint 0.1.0, 2 threads, CPU (AVX-512)"},
            {t + 2.4, info, "loaded SmolLM2 135M Instruct (llama, 30 layers) in 1.4 s"},
            {t + 3.1, info, "sidecar 5d1c0e7f fits the model: pca, 8 groups of 128 components"},
            {t + 80, warning, "hidden FVU of blocks 28-29 is 0.11 on held-out text: edits there are approximate"},
            {t + 92, error, "export failed: /mnt/nas/trajectory.csv: the folder is read-only. Choose another folder."},
            {t + 95, info, "generated 24 tokens in 0.91 s (26.4 tokens/s)"}};
}

std::shared_ptr<Snapshot> blank() {
    auto snapshot = std::make_shared<Snapshot>();
    snapshot->version = 1;
    snapshot->model = std::make_shared<ModelView>();
    snapshot->sidecar = std::make_shared<SidecarView>();
    snapshot->graph = std::make_shared<GraphView>();
    snapshot->jobs = std::make_shared<std::vector<JobView>>();
    snapshot->log = std::make_shared<std::vector<LogLine>>();
    return snapshot;
}

}  // namespace

std::shared_ptr<Snapshot> sample_snapshot() {
    auto snapshot = blank();
    const auto tokens = static_cast<int64_t>(words().size());
    snapshot->model = model();
    snapshot->sidecar = sidecar();
    snapshot->graph = graph();
    snapshot->path = path(tokens);
    snapshot->current = 6;
    snapshot->selected = {1, 37};
    snapshot->latent = latent(snapshot->selected);
    snapshot->preview = preview(snapshot->selected);
    snapshot->anomaly = anomaly(tokens);
    ReferenceView reference;
    reference.state = ReferenceView::State::ready;
    snapshot->reference = std::make_shared<const ReferenceView>(reference);
    snapshot->trajectory = trajectory();
    snapshot->projection = sample_projection(*snapshot->trajectory, 1);
    snapshot->reconstruction = reconstruction();
    snapshot->rate_distortion = rate_distortion();
    snapshot->codec_trial = codec_trial(*snapshot);
    snapshot->training = training();
    snapshot->jobs = std::make_shared<std::vector<JobView>>(jobs());
    snapshot->log = std::make_shared<std::vector<LogLine>>(log_lines());
    snapshot->status = {.tokens_per_second = 26.4,
                        .resident_bytes = 1'240'000'000,
                        .rows_bytes = 25'700'000,
                        .memory_budget = 4'000'000'000,
                        .threads = 2,
                        .generating = false,
                        .busy = true};
    snapshot->session = {"/home/ada/sessions/why is the sea blue.savepoint", true, "", 1};
    return snapshot;
}

std::shared_ptr<Snapshot> empty_snapshot() {
    auto snapshot = blank();
    ModelView loading;
    loading.phase = Phase::working;
    loading.progress = 0.4;
    loading.name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    snapshot->model = std::make_shared<ModelView>(loading);
    snapshot->status.threads = 2;
    return snapshot;
}

std::shared_ptr<Snapshot> scripts_snapshot() {
    auto snapshot = sample_snapshot();
    const std::vector<std::string> texts = {"Latin: d\u00e9j\u00e0 vu,",
                                            " \u0141\u00f3d\u017a",
                                            "\n",
                                            "Greek:",
                                            " \u03ba\u03cc\u03c3\u03bc\u03bf\u03c2",
                                            "\n",
                                            "Cyrillic:",
                                            " \u043c\u0438\u0440",
                                            "\n",
                                            "Arabic:",
                                            " \u0645\u0631\u062d\u0628\u0627",
                                            "\n",
                                            "Hebrew:",
                                            " \u05e9\u05dc\u05d5\u05dd",
                                            "\n",
                                            "Devanagari:",
                                            " \u0928\u092e\u0938\u094d\u0924\u0947",
                                            "\n",
                                            "Thai:",
                                            " \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
                                            "\n",
                                            "Georgian:",
                                            " \u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0",
                                            "\n",
                                            "Chinese:",
                                            " \u4f60\u597d",
                                            "\n",
                                            "Maths:",
                                            " \u2200x \u2208 \u211d: x\u00b2 \u2265 0",
                                            "\n",
                                            "Emoji:",
                                            " \U0001F600",
                                            " \U0001F30A",
                                            "\n",
                                            "Bytes: <0xE4>",
                                            "\n",
                                            "Control:\x01\x1b",
                                            "\n",
                                            std::string(400, 'x'),
                                            "\n",
                                            ""};
    auto path = std::make_shared<PathView>();
    path->thought = 6;
    for (size_t i = 0; i < texts.size(); ++i) {
        auto one = token(static_cast<int64_t>(i));
        one->text = texts[i];
        one->special = false;
        path->tokens.push_back(one);
    }
    snapshot->path = path;
    return snapshot;
}

std::shared_ptr<Snapshot> large_snapshot(int64_t tokens, int64_t thoughts) {
    auto snapshot = sample_snapshot();
    snapshot->path = path(tokens);
    GraphView view;
    std::mt19937 random(7);
    for (ThoughtId id = 1; id <= thoughts; ++id) {
        const ThoughtId parent = id == 1 ? 0 : std::max<ThoughtId>(1, id - 1 - static_cast<ThoughtId>(random() % 12));
        view.thoughts.push_back(thought(id, parent, id == 1 ? EdgeKind::root : static_cast<EdgeKind>(1 + random() % 3),
                                        16 * id, 16, "thought number " + std::to_string(id), "made for a test"));
    }
    snapshot->graph = std::make_shared<GraphView>(view);
    return snapshot;
}

}  // namespace savepoint::test
