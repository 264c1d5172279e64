#include "core/sidecar/dictd_file.h"

#include <zlib.h>

#include <map>
#include <memory>
#include <sstream>

#include "core/model/error.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

constexpr size_t kMostBytes = size_t{1} << 30;

std::string unzipped(const std::string& path) {
    const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
    if (!file) throw FileError(path, "is not there or cannot be read");
    std::string text(1 << 20, '\0');
    size_t size = 0;
    for (;;) {
        const int count = gzread(file.get(), text.data() + size, static_cast<unsigned>(text.size() - size));
        if (count < 0) throw FileError(path, "is damaged");
        if (count == 0) break;
        size += static_cast<size_t>(count);
        if (size > kMostBytes) throw FileError(path, "is too large");
        if (size == text.size()) text.resize(2 * size);
    }
    text.resize(size);
    return text;
}

size_t base64_number(const std::string& digits, const std::string& path) {
    static const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t number = 0;
    for (const char digit : digits) {
        const size_t value = kDigits.find(digit);
        if (value == std::string::npos || number > kMostBytes) throw FileError(path, "has a line that is no entry");
        number = number * 64 + value;
    }
    return number;
}

std::string joined_lines(const std::string& article) {
    std::istringstream lines(article);
    std::string line, text;
    bool begins = true;
    while (std::getline(lines, line)) {
        const size_t first = line.find_first_not_of(" \t\r"), last = line.find_last_not_of(" \t\r");
        if (first == std::string::npos) {
            begins = true;
            continue;
        }
        if (!text.empty()) text += begins ? '\n' : ' ';
        text.append(line, first, last - first + 1);
        begins = false;
    }
    return text;
}

}  // namespace

std::vector<std::string> read_dictd(const std::string& base) {
    const std::string index = base + ".index", dictionary = base + ".dict.dz";
    std::istringstream lines(read_file(index));
    std::map<size_t, size_t> articles;  // length by offset
    for (std::string line; std::getline(lines, line);) {
        const size_t length_tab = line.rfind('\t');
        const size_t offset_tab =
            length_tab == std::string::npos || length_tab == 0 ? std::string::npos : line.rfind('\t', length_tab - 1);
        if (offset_tab == std::string::npos) throw FileError(index, "has a line that is no entry");
        if (line.rfind("00", 0) == 0) continue;
        articles[base64_number(line.substr(offset_tab + 1, length_tab - offset_tab - 1), index)] =
            base64_number(line.substr(length_tab + 1), index);
    }
    const std::string text = unzipped(dictionary);
    std::vector<std::string> all;
    for (const auto& [offset, length] : articles) {
        if (offset > text.size() || length > text.size() - offset)
            throw FileError(index, "points beyond the end of " + dictionary);
        if (std::string article = joined_lines(text.substr(offset, length)); !article.empty())
            all.push_back(std::move(article));
    }
    return all;
}

}  // namespace savepoint
