#include "core/model/tokenizer.h"

#include <llama.h>

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "core/model/chat_template.h"
#include "core/model/error.h"
#include "core/model/gguf_config.h"
#include "core/model/sha256.h"
#include "core/model/utf8.h"

namespace savepoint {

namespace {

constexpr size_t kLongestText = size_t{1} << 28;

void check_special(const GgufFile& file, const std::string& key, size_t count) {
    if (file.has(key) && static_cast<size_t>(file.integer(key)) >= count) file.fail(key + " is beyond the vocabulary");
}

void check_array(const GgufFile& file, const std::string& key, GgufType element, size_t count) {
    if (!file.has(key)) return;
    const GgufValue info = file.array_info(key);
    if (info.element != element) file.fail(key + " has elements of the wrong type");
    if (info.count != count)
        file.fail(key + " has " + std::to_string(info.count) + " elements for " + std::to_string(count) + " tokens");
}

// llama.cpp asserts, and so ends the process, on what is refused here.
void check_vocabulary(const GgufFile& file) {
    const ModelConfig config = read_config(file);
    const std::string model = file.text("tokenizer.ggml.model");
    if (model != "gpt2" && model != "llama")
        file.fail("tokenizer.ggml.model is '" + model + "'; 'gpt2' and 'llama' are supported");
    const std::vector<std::string> tokens = file.texts("tokenizer.ggml.tokens");
    if (static_cast<int64_t>(tokens.size()) != config.vocab)
        file.fail("tokenizer.ggml.tokens has " + std::to_string(tokens.size()) + " tokens; the embedding has " +
                  std::to_string(config.vocab));
    std::unordered_set<std::string> seen;
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (first_invalid_utf8(tokens[i]))
            file.fail("tokenizer.ggml.tokens: token " + std::to_string(i) + " is not UTF-8");
        if (!seen.insert(tokens[i].empty() ? "[EMPTY_" + std::to_string(i) + "]" : tokens[i]).second)
            file.fail("tokenizer.ggml.tokens: token " + std::to_string(i) + " is there twice");
    }
    check_array(file, "tokenizer.ggml.token_type", GgufType::i32, tokens.size());
    check_array(file, "tokenizer.ggml.scores", GgufType::f32, tokens.size());
    if (model == "gpt2")
        for (const std::string& merge : file.texts("tokenizer.ggml.merges"))
            if (first_invalid_utf8(merge)) file.fail("tokenizer.ggml.merges holds what is not UTF-8");
    for (const char* role : {"bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask"})
        check_special(file, std::string("tokenizer.ggml.") + role + "_token_id", tokens.size());
}

void silence(ggml_log_level, const char*, void*) {}

// What SentencePiece writes for a space.
constexpr std::string_view kSpaceMark = "\u2581";

}  // namespace

struct Tokenizer::Impl {
    struct Free {
        void operator()(llama_model* model) const { llama_model_free(model); }
    };

    std::string piece_of(TokenId id) const {
        std::string text(64, '\0');
        int32_t length = llama_token_to_piece(vocab, id, text.data(), static_cast<int32_t>(text.size()), 0, true);
        if (length < 0) {
            text.resize(static_cast<size_t>(-length));
            length = llama_token_to_piece(vocab, id, text.data(), static_cast<int32_t>(text.size()), 0, true);
        }
        text.resize(static_cast<size_t>(std::max(length, 0)));
        return text;
    }

    // The tokens of the mark's bytes: only so does a mark in a text come back as a mark.
    std::vector<TokenId> find_space_mark() const {
        std::vector<TokenId> ids;
        if (llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_SPM) return ids;
        for (const char byte : kSpaceMark)
            for (TokenId id = 0; id < static_cast<TokenId>(pieces.size()); ++id)
                if (pieces[id] == std::string_view(&byte, 1) &&
                    (llama_vocab_get_attr(vocab, id) & LLAMA_TOKEN_ATTR_BYTE)) {
                    ids.push_back(id);
                    break;
                }
        if (ids.size() < kSpaceMark.size()) ids.clear();
        return ids;
    }

    void append(std::string_view text, bool parse_special, std::vector<TokenId>& ids) const {
        const auto length = static_cast<int32_t>(text.size());
        const size_t before = ids.size();
        ids.resize(before + text.size() + 8);
        const auto run = [&] {
            return llama_tokenize(vocab, text.data(), length, ids.data() + before,
                                  static_cast<int32_t>(ids.size() - before), false, parse_special);
        };
        int32_t count = run();
        if (count < 0) {
            ids.resize(before + static_cast<size_t>(-count));
            count = run();
        }
        ids.resize(before + static_cast<size_t>(std::max(count, 0)));
    }

    std::string special(TokenId id) const { return id < 0 ? "" : pieces[id]; }

    const std::string& checked_piece(TokenId id) const {
        if (id < 0 || static_cast<size_t>(id) >= pieces.size())
            throw InputError("token: id " + std::to_string(id) + " is not in the vocabulary");
        return pieces[id];
    }

    std::unique_ptr<llama_model, Free> model;
    const llama_vocab* vocab = nullptr;
    std::vector<std::string> pieces;
    std::vector<TokenId> start, space_mark;  // space_mark: empty where it needs no care
    std::string chat_template, hash;
};

Tokenizer::Tokenizer(const std::string& gguf_path) : impl_(std::make_unique<Impl>()) {
    const GgufFile file(gguf_path);
    check_vocabulary(file);
    llama_log_set(silence, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    impl_->model.reset(llama_model_load_from_file(gguf_path.c_str(), params));
    if (!impl_->model) throw FileError(gguf_path, "llama.cpp cannot read its vocabulary");
    impl_->vocab = llama_model_get_vocab(impl_->model.get());
    for (TokenId id = 0; id < llama_vocab_n_tokens(impl_->vocab); ++id) impl_->pieces.push_back(impl_->piece_of(id));
    if (llama_vocab_get_add_bos(impl_->vocab) && llama_vocab_bos(impl_->vocab) >= 0)
        impl_->start = {llama_vocab_bos(impl_->vocab)};
    impl_->space_mark = impl_->find_space_mark();
    impl_->chat_template = file.text_or("tokenizer.chat_template", "");
    std::string all;
    for (const std::string& piece : impl_->pieces) all += std::to_string(piece.size()) + ":" + piece;
    impl_->hash = sha256_hex(all + impl_->chat_template);
}

Tokenizer::~Tokenizer() = default;

int64_t Tokenizer::size() const { return static_cast<int64_t>(impl_->pieces.size()); }

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool parse_special) const {
    if (const auto offset = first_invalid_utf8(text))
        throw InputError("text: is not UTF-8 at byte " + std::to_string(*offset));
    if (text.size() > kLongestText) throw InputError("text: is longer than 256 MiB");
    std::vector<TokenId> ids;
    size_t mark = impl_->space_mark.empty() ? std::string_view::npos : text.find(kSpaceMark);
    for (; mark != std::string_view::npos; mark = text.find(kSpaceMark)) {
        impl_->append(text.substr(0, mark), parse_special, ids);
        ids.insert(ids.end(), impl_->space_mark.begin(), impl_->space_mark.end());
        text.remove_prefix(mark + kSpaceMark.size());
    }
    impl_->append(text, parse_special, ids);
    return ids;
}

std::vector<TokenId> Tokenizer::encode_start(std::string_view text, bool parse_special) const {
    std::vector<TokenId> ids = encode(text, parse_special);
    const std::vector<TokenId>& first = impl_->start;
    if (ids.size() < first.size() || !std::equal(first.begin(), first.end(), ids.begin()))
        ids.insert(ids.begin(), first.begin(), first.end());
    return ids;
}

const std::vector<TokenId>& Tokenizer::start() const { return impl_->start; }

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
    std::string text;
    for (const TokenId id : ids) text += impl_->checked_piece(id);
    return text;
}

std::string Tokenizer::piece(TokenId id) const { return impl_->checked_piece(id); }

bool Tokenizer::is_special(TokenId id) const {
    impl_->checked_piece(id);
    return llama_vocab_is_control(impl_->vocab, id);
}

bool Tokenizer::ends_generation(TokenId id) const {
    impl_->checked_piece(id);
    return llama_vocab_is_eog(impl_->vocab, id);
}

std::string Tokenizer::hash() const { return impl_->hash; }

bool Tokenizer::has_chat_template() const { return !impl_->chat_template.empty(); }

std::string Tokenizer::apply_chat_template(std::span<const ChatMessage> messages, bool add_generation_prompt) const {
    if (!has_chat_template()) throw InputError("chat template: the model file has none; use the text as it is");
    return render_chat_template(impl_->chat_template, messages, impl_->special(llama_vocab_bos(impl_->vocab)),
                                impl_->special(llama_vocab_eos(impl_->vocab)), add_generation_prompt);
}

}  // namespace savepoint
