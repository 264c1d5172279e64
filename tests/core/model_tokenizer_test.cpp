#include "core/model/utf8.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

TEST_CASE("tokenizer: text comes back byte for byte") {
    const Tokenizer& tokenizer = shared_tokenizer();
    for (const std::string text : {"", " ", "a", "\n\n\t x", "naïve café — 日本語 🙂 Привет мир",
                                   "  two  spaces  ", "12345 6,789.00", "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
                                   "<|im_start|>user\nhi<|im_end|>", "tab\tcr\r\nnul-free", "e\xcc\x81"}) {
        CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
        CHECK(tokenizer.decode(tokenizer.encode(text, false)) == text);
    }
    std::string long_text;
    for (int i = 0; i < 20'000; ++i) long_text += static_cast<char>(i % 7 ? 'a' + i % 26 : ' ');
    CHECK(tokenizer.decode(tokenizer.encode(long_text)) == long_text);
}

TEST_CASE("tokenizer: special tokens are parsed when asked for, and known") {
    const Tokenizer& tokenizer = shared_tokenizer();
    CHECK(tokenizer.size() == 49152);
    const std::vector<TokenId> parsed = tokenizer.encode("<|im_end|>");
    REQUIRE(parsed.size() == 1);
    CHECK(tokenizer.is_special(parsed[0]));
    CHECK(tokenizer.ends_generation(parsed[0]));
    CHECK(tokenizer.piece(parsed[0]) == "<|im_end|>");
    CHECK(tokenizer.encode("<|im_end|>", false).size() > 1);
    CHECK(!tokenizer.is_special(504));
    CHECK(tokenizer.hash().size() == 64);
    CHECK_THROWS_AS(tokenizer.piece(49152), InputError);
    CHECK_THROWS_AS(tokenizer.decode(std::vector<TokenId>{-1}), InputError);
}

TEST_CASE("tokenizer: what is not UTF-8 is refused with its place") {
    for (const std::string text :
         {"ab\xff", "ab\xc0\xaf", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x82", "ab\x80"}) {
        CHECK(first_invalid_utf8(text) == 2);
        CHECK_THROWS_WITH_AS(shared_tokenizer().encode(text), "text: is not UTF-8 at byte 2", InputError);
    }
}

TEST_CASE("tokenizer: the chat template keeps its default system prompt") {
    const std::vector<ChatMessage> question = {{"user", "Why is the sky blue?"}};
    const std::string text = shared_tokenizer().apply_chat_template(question);
    CHECK(text == Reference::get().json["prompts"][3]["prompt"].get<std::string>());
    const std::vector<ChatMessage> with_system = {{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello"}};
    CHECK(shared_tokenizer().apply_chat_template(with_system, false) ==
          "<|im_start|>system\nBe "
          "brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n");
}
