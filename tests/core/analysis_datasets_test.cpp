#include <filesystem>
#include <fstream>

#include "core/analysis/builtin_experiments.h"
#include "core/analysis/experiment_settings.h"
#include "core/analysis/experiment_texts.h"
#include "core/model/error.h"

#undef CHECK
#include <doctest/doctest.h>

using namespace savepoint;

namespace {

namespace fs = std::filesystem;

struct Folder {
    fs::path path = fs::temp_directory_path() / "savepoint-datasets-test";
    Folder() { fs::create_directories(path); }
    ~Folder() { fs::remove_all(path); }
    std::string file(const std::string& name, const std::string& text) const {
        fs::create_directories((path / name).parent_path());
        std::ofstream(path / name) << text;
        return (path / name).string();
    }
};

std::vector<LabelledText> read(const std::string& path, const std::string& format, const std::string& label = "") {
    TextSource source;
    source.path = path;
    source.format = format;
    source.label = label;
    return read_labelled(source);
}

LabelledText of(bool anomalous, const std::string& group) {
    LabelledText text;
    text.text = "x";
    text.anomalous = anomalous;
    text.group = group;
    return text;
}

}  // namespace

TEST_CASE("datasets in the formats that they are published in") {
    const Folder folder;
    auto texts = read(
        folder.file("a.jsonl", "{\"text\": \"fine\", \"label\": 0}\n\n{\"text\": \"odd\", \"label\": 1}\n"), "jsonl");
    REQUIRE(texts.size() == 2);
    CHECK_FALSE(texts[0].anomalous);
    CHECK(texts[1].anomalous);
    CHECK(texts[0].group != texts[1].group);

    texts = read(folder.file("a.csv", "text,label\n\"one, two\",bad\nthree,good\n"), "csv");
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].text == "one, two");
    CHECK(texts[0].anomalous);

    texts = read(folder.file("a.txt", "first\n\nsecond\n"), "text", "anomalous");
    CHECK(texts.size() == 2);
    CHECK(texts[1].anomalous);

    texts = read(folder.file("TruthfulQA.csv",
                             "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
                             "Adversarial,Myths,Is it so?,\"No, it is not\",No,Yes it is; Surely,http://a\n"),
                 "truthfulqa");
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].text == "Q: Is it so?\nA: No, it is not");
    CHECK(texts[1].text == "Q: Is it so?\nA: Yes it is");
    CHECK(texts[0].group == texts[1].group);

    texts = read(folder.file("util_train.csv", "I ate cake.,I ate sand.\n"), "ethics");
    CHECK(texts[0].text == "I ate cake.");
    CHECK(texts[1].anomalous);

    folder.file("annotations_clean/game.json",
                "{\"scenes\": {\"1\": {\"morality\": {\"deception\": 1}}, \"2\": {\"morality\": {\"deception\": 0}}, "
                "\"3\": {\"morality\": {\"deception\": 0.5}}}}");
    texts = read(folder.file("scenarios/game_scenarios_bfs_filled.json",
                             "{\"1\": \"You lie.\", \"2\": \"You wait.\", \"3\": \"Hm.\", \"4\": \"None.\"}"),
                 "machiavelli");
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].anomalous);
    CHECK(texts[1].text == "You wait.");

    texts =
        read(folder.file("dev.json",
                         "{\"data\": {\"intersentence\": [{\"id\": \"7\", \"context\": \"He came.\", \"sentences\": "
                         "[{\"sentence\": \"A.\", \"gold_label\": \"stereotype\"}, {\"sentence\": \"B.\", "
                         "\"gold_label\": \"anti-stereotype\"}, {\"sentence\": \"C.\", \"gold_label\": "
                         "\"unrelated\"}]}]}}"),
             "stereoset");
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].text == "He came. A.");
    CHECK(texts[0].anomalous);

    texts = read(folder.file("csqa.jsonl",
                             "{\"answerKey\": \"B\", \"id\": \"1\", \"question\": {\"stem\": \"Where?\", \"choices\": "
                             "[{\"label\": \"A\", \"text\": \"sea\"}, {\"label\": \"B\", \"text\": \"bank\"}, "
                             "{\"label\": \"C\", \"text\": \"sky\"}]}}\n"),
                 "commonsenseqa");
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].text == "Q: Where?\nA: sea");
    CHECK(texts[0].anomalous);
    CHECK_FALSE(texts[1].anomalous);

    texts =
        read(folder.file("garak.report.jsonl",
                         "{\"entry_type\": \"init\"}\n"
                         "{\"entry_type\": \"attempt\", \"status\": 1, \"prompt\": \"p1\"}\n"
                         "{\"entry_type\": \"attempt\", \"status\": 2, \"prompt\": \"p1\", \"detector_results\": "
                         "{\"d\": [0.0, 1.0]}}\n"
                         "{\"entry_type\": \"attempt\", \"status\": 2, \"prompt\": {\"turns\": [{\"role\": \"user\", "
                         "\"content\": {\"text\": \"p2\"}}]}, \"detector_results\": {\"d\": [0.0]}}\n"),
             "garak");
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].anomalous);
    CHECK(texts[1].text == "p2");
    CHECK_FALSE(texts[1].anomalous);

    texts = read(folder.file("harmbench.csv",
                             "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
                             "Do it,contextual,x,,Given this,a\nDo that,standard,y,,,b\n"),
                 "harmbench");
    CHECK(texts[0].text == "Given this\n\nDo it");
    CHECK(texts[1].text == "Do that");
    CHECK(texts[1].anomalous);
}

TEST_CASE("files that are not what they are said to be are refused") {
    const Folder folder;
    CHECK_THROWS_AS(read(folder.file("a.jsonl", "{\"text\": 3, \"label\": 0}\n"), "jsonl"), FileError);
    CHECK_THROWS_AS(read(folder.file("b.jsonl", "[1]\n"), "jsonl"), FileError);
    CHECK_THROWS_AS(read(folder.file("c.jsonl", "\n"), "jsonl"), FileError);
    CHECK_THROWS_AS(read(folder.file("a.csv", "words\nx\n"), "csv"), FileError);
    CHECK_THROWS_AS(read(folder.file("a.txt", "x\n"), "text"), FileError);
    CHECK_THROWS_AS(read(folder.file("dev.json", "{\"data\": 3}"), "stereoset"), FileError);
    CHECK_THROWS_AS(read(folder.file("g.jsonl", "{\"entry_type\": 4, \"prompt\": {\"turns\": 3}}\n"), "garak"),
                    FileError);
    CHECK_THROWS_AS(read("/nowhere.csv", "ethics"), Error);
    CHECK_THROWS_AS(read("/nowhere.csv", "shorthand"), InputError);
    CHECK_THROWS_AS(minimal_pair("no choice here", "f"), FileError);
}

TEST_CASE("settings of an experiment: defaults, relative paths, and refusals") {
    const auto parsed = [](const char* text) { return experiment_from(nlohmann::json::parse(text), "/d/e.json"); };
    const ExperimentSettings s = parsed(
        R"({"name": "n", "data": [{"path": "x.csv", "format": "csv", "label": "normal"}], "phi": ["exp"], "seed": 4})");
    CHECK(s.data[0].path == "/d/x.csv");
    CHECK((s.phi == std::vector<PhiKind>{PhiKind::exp}));
    CHECK(s.forms.size() == 3);
    CHECK(experiment_from(nlohmann::json::parse(R"({"builtin": "statements"})"), "f").name == "statements");
    CHECK(described(s)["seed"] == 4);
    CHECK_THROWS_AS(parsed("{}"), FileError);
    CHECK_THROWS_AS(parsed(R"({"builtin": "a", "typo": 1})"), FileError);
    CHECK_THROWS_AS(parsed(R"({"builtin": "a", "phi": ["sigmoid"]})"), FileError);
    CHECK_THROWS_AS(parsed(R"({"builtin": "a", "train_fraction": 1})"), FileError);
    CHECK_THROWS_AS(parsed(R"({"data": [{"path": "x", "label": "odd"}]})"), FileError);
    CHECK((layers_of(LayerChoice::three, 30) == std::vector<int64_t>{19, 20, 21}));
    CHECK((layers_of(LayerChoice::middle, 30) == std::vector<int64_t>{15}));
    CHECK(layers_of(LayerChoice::all, 3).size() == 3);
}

TEST_CASE("length matching: equal counts, like lengths, twins together; a score by length then tells nothing") {
    std::vector<LabelledText> texts;
    std::vector<int64_t> length;
    for (int i = 0; i < 40; ++i) {
        texts.push_back(of(false, "n" + std::to_string(i)));
        length.push_back(10 + i % 8);
        texts.push_back(of(true, i % 4 == 0 ? "n" + std::to_string(i) : "a" + std::to_string(i)));
        length.push_back(i % 4 == 0 ? 10 + i % 8 : 15 + i % 20);
    }
    const std::vector<bool> kept = length_matched(texts, length, 0);
    double sums[2] = {0, 0};
    int counts[2] = {0, 0};
    for (size_t i = 0; i < texts.size(); ++i)
        if (kept[i]) sums[texts[i].anomalous] += static_cast<double>(length[i]), ++counts[texts[i].anomalous];
    CHECK(counts[0] == counts[1]);
    CHECK(counts[0] >= 16);
    CHECK(std::abs(sums[0] - sums[1]) <= counts[0]);
    for (size_t i = 0; i < 80; i += 8) CHECK((kept[i] && kept[i + 1]));  // twins of one length
}

TEST_CASE("the split keeps groups whole, both parts alike, and is the same for the same seed") {
    std::vector<LabelledText> texts;
    for (int i = 0; i < 100; ++i) {
        texts.push_back(of(false, "g" + std::to_string(i)));
        texts.push_back(of(true, "g" + std::to_string(i)));
    }
    for (int i = 0; i < 50; ++i) texts.push_back(of(i % 5 == 0, "s" + std::to_string(i)));
    std::vector<bool> kept(texts.size(), true);
    kept[7] = false;
    const std::vector<Part> parts = split(texts, kept, 0.5, 3);
    int tests = 0, anomalous = 0, calibration = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
        tests += parts[i] == Part::test;
        anomalous += parts[i] == Part::test && texts[i].anomalous;
        calibration += parts[i] == Part::calibration;
        if (i < 200 && i % 2 == 0 && i != 6) CHECK((parts[i] == parts[i + 1]));
    }
    CHECK((parts[7] == Part::left_out));
    CHECK(tests >= 123);
    CHECK(tests <= 126);
    CHECK(anomalous >= 54);
    CHECK(anomalous <= 55);
    CHECK(calibration >= 20);
    CHECK((parts == split(texts, kept, 0.5, 3)));
    CHECK((parts != split(texts, kept, 0.5, 4)));
    CHECK(chosen_groups(texts, 60, 1).size() <= 60);
    CHECK(chosen_groups(texts, 60, 1).size() >= 57);
    CHECK(chosen_groups(texts, 1000, 1).size() == texts.size());
}

TEST_CASE("a known answer is found as a whole word, whatever the case") {
    CHECK(mentions_any("It is PARIS.", {"Paris"}));
    CHECK_FALSE(mentions_any("Comparison", {"Paris"}));
    CHECK(mentions_any("there are 24 hours", {"twenty-four", "24"}));
    CHECK_FALSE(mentions_any("there are 240 hours", {"twenty-four", "24"}));
    const MinimalPair pair = minimal_pair("The {sun|moon} shines.", "f");
    CHECK(pair.normal == "The sun shines.");
    CHECK(pair.anomalous == "The moon shines.");
}
