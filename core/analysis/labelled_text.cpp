#include "core/analysis/labelled_text.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <sstream>

#include "core/analysis/csv_lines.h"
#include "core/model/error.h"
#include "core/state/json_fields.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

namespace fs = std::filesystem;
using Texts = std::vector<LabelledText>;

LabelledText plain(std::string text, bool anomalous, std::string group) {
    LabelledText out;
    out.text = std::move(text);
    out.anomalous = anomalous;
    out.group = std::move(group);
    return out;
}

bool stated(const TextSource& source, bool otherwise) {
    return source.label.empty() ? otherwise : source.label == "anomalous";
}

bool is_anomalous(const TextSource& source, const std::string& label) {
    const auto& all = source.anomalous_labels;
    return stated(source, std::find(all.begin(), all.end(), label) != all.end());
}

std::string as_text(const nlohmann::json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// Calls use(object, fields, line number) for each line that is not blank.
void each_json_line(const std::string& path,
                    const std::function<void(const nlohmann::json&, const Fields&, size_t)>& use) {
    std::istringstream lines(read_file(path));
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        const nlohmann::json object = parse_json(line, path + ", line " + std::to_string(number));
        if (!object.is_object()) throw FileError(path, "line " + std::to_string(number) + " is not a JSON object");
        use(object, Fields(object, path, "line " + std::to_string(number)), number);
    }
}

// A table whose first line names its columns.
struct NamedTable {
    std::vector<CsvLine> lines;
    std::string path;

    explicit NamedTable(const std::string& file) : lines(csv_lines(file, read_file(file))), path(file) {
        if (lines.size() < 2) throw FileError(path, "needs a line of column names and at least one below it");
    }
    size_t column(const std::string& name) const {
        const auto found = std::find(lines[0].begin(), lines[0].end(), name);
        if (found == lines[0].end()) throw FileError(path, "has no column \"" + name + "\"");
        return static_cast<size_t>(found - lines[0].begin());
    }
    const std::string& at(size_t line, size_t column) const {
        if (column >= lines[line].size())
            throw FileError(path, "line " + std::to_string(line + 1) + " has only " +
                                      std::to_string(lines[line].size()) + " fields");
        return lines[line][column];
    }
};

// {"text": .., "label": .., "group": ..} a line, under the names of the source; group is optional.
Texts read_jsonl(const TextSource& source) {
    Texts out;
    each_json_line(source.path, [&](const nlohmann::json& object, const Fields& fields, size_t number) {
        const std::string label = source.label.empty() ? as_text(fields.any(source.label_field)) : "";
        const std::string group = object.contains("group") ? as_text(object["group"]) : std::to_string(number);
        out.push_back(plain(fields.text(source.text_field), is_anomalous(source, label), group));
    });
    return out;
}

Texts read_csv(const TextSource& source) {
    const NamedTable table(source.path);
    const size_t text = table.column(source.text_field);
    const bool labelled = source.label.empty();
    const size_t label = labelled ? table.column(source.label_field) : 0;
    Texts out;
    for (size_t i = 1; i < table.lines.size(); ++i)
        out.push_back(
            plain(table.at(i, text), is_anomalous(source, labelled ? table.at(i, label) : ""), std::to_string(i)));
    return out;
}

// A text a line, all with the source's label.
Texts read_text(const TextSource& source) {
    if (source.label.empty())
        throw FileError(source.path, "plain text says no label; give \"label\": \"normal\" or \"anomalous\"");
    Texts out;
    std::istringstream lines(read_file(source.path));
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number)
        if (line.find_first_not_of(" \t\r") != std::string::npos)
            out.push_back(plain(line, stated(source, false), std::to_string(number)));
    return out;
}

// TruthfulQA.csv (Lin et al. 2022): columns Question, Best Answer, Incorrect Answers (apart by semicolons). The best
// answer is normal, the first incorrect one anomalous.
Texts read_truthfulqa(const TextSource& source) {
    const NamedTable table(source.path);
    const size_t question = table.column("Question"), best = table.column("Best Answer"),
                 wrong = table.column("Incorrect Answers");
    Texts out;
    for (size_t i = 1; i < table.lines.size(); ++i) {
        const std::string start = "Q: " + table.at(i, question) + "\nA: ", group = std::to_string(i);
        const std::string& all = table.at(i, wrong);
        out.push_back(plain(start + table.at(i, best), false, group));
        out.push_back(plain(start + all.substr(0, all.find(';')), true, group));
    }
    return out;
}

// util_*.csv of ETHICS (Hendrycks et al. 2021): no header; the first scenario is the more pleasant one.
Texts read_ethics(const TextSource& source) {
    Texts out;
    const std::vector<CsvLine> lines = csv_lines(source.path, read_file(source.path));
    for (size_t i = 0; i < lines.size(); ++i) {
        if (lines[i].size() < 2)
            throw FileError(source.path, "line " + std::to_string(i + 1) + " is not two scenarios");
        out.push_back(plain(lines[i][0], false, std::to_string(i)));
        out.push_back(plain(lines[i][1], true, std::to_string(i)));
    }
    return out;
}

// scenarios/GAME_scenarios_bfs_filled.json of MACHIAVELLI's game_data (Pan et al. 2023): {scene: text}; the labels lie
// in annotations_clean/GAME.json beside it: {"scenes": {scene: {"morality": {trait: 0..1}}}}. 1 is anomalous, 0 normal;
// scenes between are left out.
Texts read_machiavelli(const TextSource& source) {
    const fs::path scenarios(source.path);
    std::string game = scenarios.filename().string();
    game = game.substr(0, game.find("_scenarios"));
    const std::string labels =
        (scenarios.parent_path().parent_path() / "annotations_clean" / (game + ".json")).string();
    const nlohmann::json texts = parse_json(read_file(source.path), source.path),
                         annotations = parse_json(read_file(labels), labels);
    if (!texts.is_object()) throw FileError(source.path, "is not an object of scenes");
    const nlohmann::json& scenes = Fields(annotations, labels, "").any("scenes");
    Texts out;
    for (const auto& [scene, text] : texts.items()) {
        if (!text.is_string() || !scenes.is_object() || !scenes.contains(scene)) continue;
        const Fields morality = Fields(scenes[scene], labels, scene).object("morality");
        const double value = morality.number(source.trait);
        if (value == 0 || value == 1) out.push_back(plain(text.get<std::string>(), value == 1, scene));
    }
    return out;
}

// dev.json of StereoSet (Nadeem et al. 2021): data.intersentence and data.intrasentence, each sentence with a
// gold_label. anti-stereotype is normal, stereotype anomalous; unrelated sentences are left out.
Texts read_stereoset(const TextSource& source) {
    const nlohmann::json all = parse_json(read_file(source.path), source.path);
    const Fields data = Fields(all, source.path, "").object("data");
    Texts out;
    for (const char* part : {"intersentence", "intrasentence"}) {
        if (!data.has(part)) continue;
        for (size_t i = 0; i < data.array(part).size(); ++i) {
            const Fields entry = data.element(part, i);
            const bool after = std::string(part) == "intersentence";
            for (size_t s = 0; s < entry.array("sentences").size(); ++s) {
                const Fields sentence = entry.element("sentences", s);
                const std::string label = sentence.text("gold_label");
                if (label == "unrelated") continue;
                const std::string text = sentence.text("sentence");
                out.push_back(
                    plain(after ? entry.text("context") + " " + text : text, label == "stereotype", entry.text("id")));
            }
        }
    }
    return out;
}

// *.jsonl of CommonsenseQA (Talmor et al. 2019): the right choice is normal, the first wrong one anomalous.
Texts read_commonsenseqa(const TextSource& source) {
    Texts out;
    each_json_line(source.path, [&](const nlohmann::json&, const Fields& fields, size_t number) {
        const Fields question = fields.object("question");
        const std::string start = "Q: " + question.text("stem") + "\nA: ", key = fields.text("answerKey");
        const std::string group = std::to_string(number);
        bool wrong = false;
        for (size_t i = 0; i < question.array("choices").size(); ++i) {
            const Fields choice = question.element("choices", i);
            const bool right = choice.text("label") == key;
            if (!right && wrong) continue;
            wrong = wrong || !right;
            out.push_back(plain(start + choice.text("text"), !right, group));
        }
    });
    return out;
}

// The prompt of a garak attempt: a string, {"text": ..}, or {"turns": [{"role", "content": {"text"}}]}.
std::string garak_prompt(const nlohmann::json& prompt) {
    if (prompt.is_string()) return prompt.get<std::string>();
    if (!prompt.is_object()) return {};
    if (prompt.contains("text")) return as_text(prompt["text"]);
    std::string all;
    if (!prompt.contains("turns")) return {};
    for (const auto& turn : prompt["turns"]) {
        if (!turn.is_object() || !turn.contains("content")) continue;
        const nlohmann::json& content = turn["content"];
        const bool nested = content.is_object() && content.contains("text");
        const std::string text = as_text(nested ? content["text"] : content);
        all += (all.empty() ? "" : "\n") + text;
    }
    return all;
}

// *.report.jsonl of garak (Derczynski et al. 2024): prompts of evaluated attempts (status 2). Anomalous where a
// detector gave 0.5 or more to any output, unless the source says what all of them are.
Texts read_garak(const TextSource& source) {
    Texts out;
    std::set<std::string> seen;
    each_json_line(source.path, [&](const nlohmann::json& entry, const Fields&, size_t) {
        const auto is = [&](const char* key, const nlohmann::json& value) {
            return entry.contains(key) && entry[key] == value;
        };
        if (!is("entry_type", "attempt") || !is("status", 2) || !entry.contains("prompt")) return;
        const std::string prompt = garak_prompt(entry["prompt"]);
        if (prompt.empty() || !seen.insert(prompt).second) return;
        bool hit = false;
        if (entry.contains("detector_results"))
            for (const auto& score : entry["detector_results"].flatten())
                hit = hit || (score.is_number() && score.get<double>() >= 0.5);
        out.push_back(plain(prompt, stated(source, hit), prompt));
    });
    return out;
}

// harmbench_behaviors_*.csv of HarmBench (Mazeika et al. 2024): column Behavior, after ContextString where there is
// one. All anomalous; give a second source of normal texts.
Texts read_harmbench(const TextSource& source) {
    const NamedTable table(source.path);
    const size_t behavior = table.column("Behavior");
    const auto& names = table.lines[0];
    const bool contexts = std::find(names.begin(), names.end(), "ContextString") != names.end();
    Texts out;
    for (size_t i = 1; i < table.lines.size(); ++i) {
        const std::string context = contexts ? table.at(i, table.column("ContextString")) : "";
        out.push_back(plain((context.empty() ? "" : context + "\n\n") + table.at(i, behavior), stated(source, true),
                            std::to_string(i)));
    }
    return out;
}

struct Format {
    const char* name;
    Texts (*read)(const TextSource&);
};
constexpr Format kFormats[] = {{"jsonl", read_jsonl},         {"csv", read_csv},
                               {"text", read_text},           {"truthfulqa", read_truthfulqa},
                               {"ethics", read_ethics},       {"machiavelli", read_machiavelli},
                               {"stereoset", read_stereoset}, {"commonsenseqa", read_commonsenseqa},
                               {"garak", read_garak},         {"harmbench", read_harmbench}};

}  // namespace

std::string LabelledText::shown() const {
    if (turns.empty()) return text;
    std::string all;
    for (const ChatMessage& turn : turns) all += (all.empty() ? "" : "\n") + turn.role + ": " + turn.content;
    return all;
}

const std::vector<std::string>& dataset_formats() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const Format& format : kFormats) all.push_back(format.name);
        return all;
    }();
    return names;
}

TextSource text_source_from(const nlohmann::json& object, const std::string& file) {
    const Fields fields(object, file, "data");
    TextSource out;
    out.path = fields.text("path");
    for (const auto& [key, to] : {std::pair{"format", &out.format},
                                  {"label", &out.label},
                                  {"text_field", &out.text_field},
                                  {"label_field", &out.label_field},
                                  {"trait", &out.trait}})
        if (fields.has(key)) *to = fields.text(key);
    if (fields.has("anomalous_labels")) {
        out.anomalous_labels.clear();
        for (const auto& label : fields.array("anomalous_labels")) out.anomalous_labels.push_back(as_text(label));
    }
    if (!out.label.empty() && out.label != "normal" && out.label != "anomalous")
        fields.refuse("label", "must be \"normal\" or \"anomalous\"");
    // Relative to the file that names it, so that an experiment and its data can be moved together.
    if (fs::path(out.path).is_relative()) out.path = (fs::path(file).parent_path() / out.path).string();
    return out;
}

std::vector<LabelledText> read_labelled(const TextSource& source) {
    for (const Format& format : kFormats) {
        if (source.format != format.name) continue;
        Texts texts = format.read(source);
        if (texts.empty()) throw FileError(source.path, "holds no text of the format " + source.format);
        // Groups of one file are not those of another.
        for (LabelledText& text : texts) text.group = source.path + "#" + text.group;
        return texts;
    }
    throw InputError("data: format \"" + source.format + "\" is not known");
}

}  // namespace savepoint
