#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/model/error.h"
#include "core/sidecar/dictd_file.h"
#include "core/sidecar/fit.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFortunes = "/usr/share/games/fortunes";
constexpr const char* kGcide = "/usr/share/dictd/gcide";

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

void keep(std::vector<std::string>& documents, std::string& document) {
    if (std::string text = trimmed(document); !text.empty()) documents.push_back(std::move(text));
    document.clear();
}

// Documents apart by lines that `separates` says yes to.
template <typename Separates>
void split_lines(const std::string& text, std::vector<std::string>& documents, Separates separates) {
    std::istringstream lines(text);
    std::string line, document;
    while (std::getline(lines, line)) {
        if (separates(line))
            keep(documents, document);
        else
            document += line + "\n";
    }
    keep(documents, document);
}

void read_jsonl(const std::string& path, std::vector<std::string>& documents) {
    std::istringstream lines(read_file(path));
    std::string line;
    for (int64_t number = 1; std::getline(lines, line); ++number) {
        if (trimmed(line).empty()) continue;
        const auto entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (!entry.is_object() || !entry.contains("text") || !entry["text"].is_string()) {
            throw FileError(path, "line " + std::to_string(number) + " is not a JSON object with a string \"text\"");
        }
        std::string text = entry["text"].get<std::string>();
        keep(documents, text);
    }
}

void read_text(const std::string& path, std::vector<std::string>& documents) {
    split_lines(read_file(path), documents, [](const std::string& line) { return trimmed(line).empty(); });
}

// Sorted, so that a corpus is the same wherever the folder lies.
std::vector<fs::path> files_in(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
        if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

void read_one(const fs::path& path, std::vector<std::string>& documents) {
    if (path.extension() == ".jsonl") return read_jsonl(path.string(), documents);
    read_text(path.string(), documents);
}

void require_documents(const Corpus& corpus, const std::string& path) {
    if (corpus.documents.empty()) throw FileError(path, "holds no text; choose another corpus");
}

}  // namespace

Corpus fortunes_corpus() {
    std::error_code none;
    if (!fs::is_directory(kFortunes, none)) {
        throw FileError(kFortunes,
                        "is not there; install it (apt-get install fortunes fortunes-min) or give the path of "
                        "a text corpus");
    }
    Corpus corpus{"fortunes", {}};
    for (const fs::path& path : files_in(kFortunes)) {
        if (path.extension() == ".dat" || path.extension() == ".u8") continue;
        split_lines(read_file(path.string()), corpus.documents, [](const std::string& line) { return line == "%"; });
    }
    require_documents(corpus, kFortunes);
    return corpus;
}

Corpus read_corpus(const std::string& path) {
    std::error_code none;
    if (!fs::exists(path, none))
        throw FileError(path, "is not there; give a text file, a .jsonl file or a folder of them");
    Corpus corpus{fs::path(path).filename().string(), {}};
    if (!fs::is_directory(path, none)) {
        read_one(path, corpus.documents);
    } else {
        const std::set<std::string> known = {".txt", ".md", ".jsonl", ""};
        for (const fs::path& file : files_in(path)) {
            if (known.contains(file.extension().string())) read_one(file, corpus.documents);
        }
    }
    require_documents(corpus, path);
    return corpus;
}

namespace {

Corpus read_source_files(const std::string& folder, const std::string& ending) {
    Corpus corpus{fs::path(folder).filename().string(), {}};
    std::error_code none;
    if (!fs::is_directory(folder, none)) return corpus;
    for (const fs::path& file : files_in(folder)) {
        if (file.extension() != ending) continue;
        std::string text = read_file(file.string());
        keep(corpus.documents, text);
    }
    return corpus;
}

// Python's own library stands on every Debian that runs our tests: source code, far from fortunes.
Corpus code_corpus() {
    for (const char* folder :
         {"/usr/lib/python3.11", "/usr/lib/python3.12", "/usr/lib/python3.13", "/usr/lib/python3"}) {
        Corpus corpus = read_source_files(folder, ".py");
        if (!corpus.documents.empty()) return corpus;
    }
    throw FileError("/usr/lib/python3", "holds no source files; give the path of a text corpus");
}

Corpus gcide_corpus() {
    std::error_code none;
    if (!fs::exists(std::string(kGcide) + ".index", none))
        throw FileError(std::string(kGcide) + ".index",
                        "is not there; install it (apt-get install --no-install-recommends dict-gcide) or give the "
                        "path of a text corpus");
    return {"dict-gcide", read_dictd(kGcide)};
}

}  // namespace

Corpus corpus_named(const std::string& name) {
    if (name == "fortunes") return fortunes_corpus();
    if (name == "dict-gcide") return gcide_corpus();
    return name == "code" ? code_corpus() : read_corpus(name);
}

}  // namespace savepoint
