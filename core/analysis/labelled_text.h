#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/tokenizer.h"

namespace savepoint {

// One prompt of an experiment: tokens, or turns of a conversation for the model's chat template, or plain text.
struct LabelledText {
    std::string text;                // of tokens: what they say
    std::vector<ChatMessage> turns;  // ending with the assistant's: as if it had said so; else it is its turn
    std::vector<TokenId> ids;
    bool anomalous = false;
    std::string group;  // texts of one group stay on one side of a split
    // Tokens put into plain text, from where on; a normal text says where its twin has them. -1: none.
    int64_t injected_at = -1, injected = 0;
    std::vector<std::string> answers;  // not empty: the model answers first, and anomalous means that none is in it
    std::string shown() const;         // for people
};

// Where texts come from:
//   format        jsonl, csv, text, truthfulqa, ethics, machiavelli, stereoset, commonsenseqa, garak, harmbench
//   label         "normal" or "anomalous" for all of the file; empty: the file says
//   text_field, label_field    of jsonl and csv
//   anomalous_labels           values of the label field that mean anomalous; all others are normal
//   trait         of machiavelli
struct TextSource {
    std::string path, format = "jsonl", label, text_field = "text", label_field = "label", trait = "deception";
    std::vector<std::string> anomalous_labels = {"1", "true", "anomalous", "bad"};
};
TextSource text_source_from(const nlohmann::json& object, const std::string& file);  // throws FileError

// The texts of a file as published; each format is described above its reader. Throws FileError naming the line or
// field.
std::vector<LabelledText> read_labelled(const TextSource& source);
const std::vector<std::string>& dataset_formats();

}  // namespace savepoint
