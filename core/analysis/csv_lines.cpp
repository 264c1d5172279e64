#include "core/analysis/csv_lines.h"

#include <utility>

#include "core/model/error.h"

namespace savepoint {

std::vector<CsvLine> csv_lines(const std::string& path, const std::string& text) {
    std::vector<CsvLine> lines;
    CsvLine line;
    std::string field;
    bool quoted = false;
    const auto end_field = [&] { line.push_back(std::exchange(field, {})); };
    const auto end_line = [&] {
        end_field();
        if (line.size() > 1 || !line.front().empty()) lines.push_back(line);
        line.clear();
    };
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"')
            field += text[++i];
        else if (c == '"')
            quoted = !quoted;
        else if (quoted || (c != ',' && c != '\n' && c != '\r'))
            field += c;
        else if (c == ',')
            end_field();
        else if (c == '\n')
            end_line();
    }
    if (quoted) throw FileError(path, "a quote is never closed");
    if (!field.empty() || !line.empty()) end_line();
    return lines;
}

}  // namespace savepoint
