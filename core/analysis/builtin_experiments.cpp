#include "core/analysis/builtin_experiments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <numeric>
#include <set>
#include <sstream>
#include <utility>

#include "assets.h"
#include "core/analysis/framing.h"
#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/noise.h"

namespace savepoint {

namespace {

constexpr int64_t kInjections = 120;  // pairs of gibberish_N and repetition_N
constexpr int64_t kCleanTokens = 32;  // before what is injected
constexpr int64_t kRepeated = 3;
constexpr int64_t kInjected[] = {1, 2, 4, 8};

std::vector<std::string> fields_of(const std::string& line, char separator) {
    std::vector<std::string> out;
    std::istringstream parts(line);
    for (std::string part; std::getline(parts, part, separator);) out.push_back(part);
    return out;
}

// Lines of assets/experiments/NAME.txt but for blank ones and # comments.
std::vector<std::string> lines_of(const std::string& name) {
    const std::string_view bytes = assets::find("experiments/" + name + ".txt");
    std::istringstream text{std::string(bytes)};
    std::vector<std::string> out;
    for (std::string line; std::getline(text, line);)
        if (!line.empty() && line[0] != '#') out.push_back(line);
    if (out.empty()) throw Error("experiments/" + name + ".txt is not among the assets of this program");
    return out;
}

std::string filled(std::string text, const std::string& slot, const std::string& value) {
    for (size_t at = text.find(slot); at != std::string::npos; at = text.find(slot, at + value.size()))
        text.replace(at, slot.size(), value);
    return text;
}

LabelledText turns_of(std::vector<ChatMessage> turns, bool anomalous, const std::string& group) {
    LabelledText out;
    out.turns = std::move(turns);
    out.anomalous = anomalous;
    out.group = group;
    return out;
}

std::vector<LabelledText> statements() {
    std::vector<LabelledText> out;
    for (const std::string& line : lines_of("statements")) {
        const MinimalPair pair = minimal_pair(line, "experiments/statements.txt");
        for (const bool anomalous : {false, true}) {
            LabelledText text;
            text.text = anomalous ? pair.anomalous : pair.normal;
            text.anomalous = anomalous;
            text.group = line;
            out.push_back(std::move(text));
        }
    }
    return out;
}

// Frames and requests lie in one file: "frame|normal|..", "frame|anomalous|..", "request|normal|..", ... Every frame is
// filled with requests of its own kind in turn; a group is a request, so that no request is on both sides of a split.
std::vector<LabelledText> jailbreak() {
    std::vector<std::string> frames[2], requests[2];
    for (const std::string& line : lines_of("jailbreak")) {
        const std::vector<std::string> parts = fields_of(line, '|');
        if (parts.size() != 3) throw FileError("experiments/jailbreak.txt", "not three fields: " + line);
        (parts[0] == "frame" ? frames : requests)[parts[1] == "anomalous"].push_back(parts[2]);
    }
    std::vector<LabelledText> out;
    for (const bool anomalous : {false, true})
        for (size_t r = 0; r < requests[anomalous].size(); ++r)
            for (size_t k = 0; k < 5; ++k) {
                const std::string& frame = frames[anomalous][(r * 5 + k) % frames[anomalous].size()];
                out.push_back(turns_of({{"user", filled(frame, "%R", requests[anomalous][r])}}, anomalous,
                                       requests[anomalous][r]));
            }
    return out;
}

// "rule a|rule b|answer under a|answer under b", %A the answer to a question of questions.txt.
std::vector<LabelledText> system_prompt() {
    const std::vector<std::string> rules = lines_of("system_prompt"), questions = lines_of("questions");
    std::vector<LabelledText> out;
    for (size_t q = 0; q < questions.size(); ++q) {
        const std::vector<std::string> question = fields_of(questions[q], '|');
        const std::vector<std::string> rule = fields_of(rules[q % rules.size()], '|');
        if (question.size() != 3 || rule.size() != 4)
            throw FileError("experiments/system_prompt.txt", "rules have four fields and questions three");
        const std::string answer = fields_of(question[1], '/').front();
        for (const size_t prompt : {0, 1})
            for (const size_t said : {0, 1})
                out.push_back(turns_of({{"system", rule[prompt]},
                                        {"user", question[0]},
                                        {"assistant", filled(rule[2 + said], "%A", answer)}},
                                       prompt != said, question[0]));
    }
    return out;
}

// "truthful wording|deceptive wording", %Q the question.
std::vector<LabelledText> deception() {
    const std::vector<std::string> wordings = lines_of("deception"), questions = lines_of("questions");
    std::vector<LabelledText> out;
    for (size_t q = 0; q < questions.size(); ++q) {
        const std::string question = fields_of(questions[q], '|').front();
        const std::vector<std::string> wording = fields_of(wordings[q % wordings.size()], '|');
        if (wording.size() != 2) throw FileError("experiments/deception.txt", "wordings have two fields");
        for (const size_t kind : {0, 1})
            out.push_back(turns_of({{"user", filled(wording[kind], "%Q", question)}}, kind == 1, question));
    }
    return out;
}

std::vector<LabelledText> hallucination() {
    std::vector<LabelledText> out;
    for (const std::string& line : lines_of("questions")) {
        const std::vector<std::string> question = fields_of(line, '|');
        out.push_back(turns_of({{"user", question[0] + " Answer in a few words."}}, false, question[0]));
        out.back().answers = fields_of(question[1], '/');
    }
    return out;
}

// gibberish_N, repetition_N and, mid-text, those with _mid: normal texts are one length there, whatever N is.
std::vector<LabelledText> injected(const Tokenizer& tokenizer, bool repetition, int64_t tokens, bool mid,
                                   uint64_t seed) {
    const int64_t length = mid ? kPlainTokens : kCleanTokens + tokens;
    const auto clean = plain_texts(tokenizer, {length}, kInjections, seed, PlainUse::experiment);
    std::vector<LabelledText> out;
    for (size_t i = 0; i < clean.size(); ++i)
        for (const bool anomalous : {false, true}) {
            LabelledText text;
            text.ids = clean[i];
            for (int64_t t = kCleanTokens; anomalous && t < kCleanTokens + tokens; ++t) {
                const auto vocabulary = static_cast<uint64_t>(tokenizer.size());
                text.ids[t] = repetition
                                  ? text.ids[t - kRepeated]
                                  : static_cast<TokenId>(mixed({seed, i, static_cast<uint64_t>(t)}) % vocabulary);
            }
            text.text = tokenizer.decode(text.ids);
            text.anomalous = anomalous;
            text.injected_at = kCleanTokens;
            text.injected = tokens;
            text.group = std::to_string(i);
            out.push_back(std::move(text));
        }
    return out;
}

PlainUse use_of(const std::vector<TokenId>& beginning) {
    return std::accumulate(beginning.begin(), beginning.end(), int64_t{0}) % 2 == 0 ? PlainUse::experiment
                                                                                    : PlainUse::background;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

}  // namespace

const std::vector<BuiltinExperiment>& builtin_experiments() {
    static const std::vector<BuiltinExperiment> all = [] {
        std::vector<BuiltinExperiment> list{
            {"statements", "false against true statements, minimal pairs"},
            {"jailbreak", "requests that try to switch off rules against harmless ones in the same frames"},
            {"system_prompt", "answers that break the system prompt's rule against those that follow it"},
            {"deception", "told to answer falsely against truthfully, the same questions"},
            {"hallucination", "the model's own answers to short questions: wrong against right"}};
        // Mid-text first: the others are beginnings of its texts.
        for (const int64_t tokens : kInjected)
            for (const auto& [name, what] :
                 {std::pair{"gibberish_", "random tokens "}, {"repetition_", "three tokens over and over "}}) {
                const std::string full = name + std::to_string(tokens);
                list.push_back({full + "_mid", std::string(what) + "mid-text, which goes on for 16 tokens or more"});
                list.push_back({full, std::string(what) + "at the end of plain text"});
            }
        return list;
    }();
    return all;
}

std::vector<LabelledText> builtin_texts(const std::string& name, const Tokenizer& tokenizer, uint64_t seed) {
    std::string known;
    bool found = false;
    for (const BuiltinExperiment& one : builtin_experiments()) {
        known += (known.empty() ? "" : ", ") + one.name;
        found = found || one.name == name;
    }
    if (!found) throw InputError("experiment: \"" + name + "\" is none of " + known);
    if (name == "statements") return statements();
    if (name == "jailbreak") return jailbreak();
    if (name == "system_prompt") return system_prompt();
    if (name == "deception") return deception();
    if (name == "hallucination") return hallucination();
    return injected(tokenizer, name.starts_with("repetition"), std::stoll(name.substr(name.find('_') + 1)),
                    name.ends_with("_mid"), seed);
}

MinimalPair minimal_pair(const std::string& line, const std::string& file) {
    const size_t open = line.find('{'), bar = line.find('|', open), close = line.find('}', bar);
    if (open == std::string::npos || bar == std::string::npos || close == std::string::npos)
        throw FileError(file, "holds no {normal|anomalous} in: " + line);
    const std::string before = line.substr(0, open), after = line.substr(close + 1);
    return {before + line.substr(open + 1, bar - open - 1) + after,
            before + line.substr(bar + 1, close - bar - 1) + after};
}

std::vector<std::vector<TokenId>> plain_texts(const Tokenizer& tokenizer, const std::vector<int64_t>& lengths,
                                              int64_t count, uint64_t seed, PlainUse use) {
    if (lengths.empty()) throw InputError("experiment: no lengths for plain texts");
    const Corpus corpus = fortunes_corpus();
    std::vector<std::vector<TokenId>> out;
    std::set<std::vector<TokenId>> used;  // beginnings: the corpus tells some stories twice
    for (size_t i = 0; static_cast<int64_t>(out.size()) < count && i < 100 * corpus.documents.size(); ++i) {
        const std::string& document = corpus.documents[mixed({seed, 0xB6, i}) % corpus.documents.size()];
        const int64_t length = lengths[out.size() % lengths.size()];
        std::vector<TokenId> ids;
        try {
            ids = tokenizer.encode_start(std::string_view(document).substr(0, 4096), /*parse_special=*/false);
        } catch (const InputError&) {
            continue;  // not UTF-8, or cut inside a character
        }
        if (static_cast<int64_t>(ids.size()) < std::max(length, kPlainTokens)) continue;
        const std::vector<TokenId> beginning(ids.begin(), ids.begin() + kPlainTokens);
        if (use_of(beginning) != use) continue;
        const bool again = !used.insert(beginning).second;
        if (again && i < 20 * corpus.documents.size()) continue;  // twice where there are not enough
        ids.resize(static_cast<size_t>(length));
        out.push_back(std::move(ids));
    }
    if (static_cast<int64_t>(out.size()) < count)
        throw InputError("experiment: the corpus has too few texts of the lengths asked for");
    return out;
}

std::vector<int64_t> injection_ends(int64_t injected_at, int64_t length) {
    std::vector<int64_t> ends;
    for (const int64_t tokens : kInjected)
        if (injected_at >= 0 && injected_at + tokens < length) ends.push_back(injected_at + tokens);
    ends.push_back(length);
    return ends;
}

std::vector<TokenId> greedy_answer(const Transformer& model, const Tokenizer& tokenizer,
                                   std::span<const TokenId> prompt, int64_t most) {
    ForwardOptions options;
    options.capture = false;
    KvCache cache = model.make_cache(static_cast<int64_t>(prompt.size()) + most);
    SamplerSettings greedy;
    greedy.greedy = true;
    at::Tensor logits = model.prefill(cache, prompt, options).logits.reshape({-1});
    std::vector<TokenId> answer;
    for (int64_t i = 0; i < most; ++i) {
        const TokenId next = sample(logits, greedy, i);
        if (ends_answer(tokenizer, next)) break;
        answer.push_back(next);
        logits = model.decode(cache, next, options).logits.reshape({-1});
    }
    return answer;
}

bool mentions_any(const std::string& text, const std::vector<std::string>& answers) {
    const std::string all = lower(text);
    for (const std::string& answer : answers) {
        const std::string one = lower(answer);
        for (size_t at = all.find(one); at != std::string::npos && !one.empty(); at = all.find(one, at + 1)) {
            const size_t end = at + one.size();
            if ((at == 0 || !is_word(all[at - 1])) && (end == all.size() || !is_word(all[end]))) return true;
        }
    }
    return false;
}

}  // namespace savepoint
