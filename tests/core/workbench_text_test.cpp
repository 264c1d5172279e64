#include "core/workbench/text.h"

// libtorch's logging has a CHECK of its own, which ends the process: doctest's must be the later one.
#undef CHECK
#include <doctest/doctest.h>

using namespace savepoint;

TEST_CASE("bytes become displayable text") {
    CHECK(displayable("plain\nlines\tand \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") ==
          "plain\nlines\tand \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    CHECK(displayable("\xe4") == "<0xE4>");
    CHECK(displayable("a\xf0\x9f") == "a<0xF0><0x9F>");
    CHECK(displayable("\xc0\xaf") == "<0xC0><0xAF>");            // overlong
    CHECK(displayable("\xed\xa0\x80") == "<0xED><0xA0><0x80>");  // surrogate
    CHECK(displayable(std::string("a\0b\x1b", 4)) == "a<0x00>b<0x1B>");
}

TEST_CASE("one line of the first characters") {
    CHECK(one_line("  two\n\n words ", 40) == "two words");
    CHECK(one_line("\xc3\xa9\xc3\xa9\xc3\xa9", 2) == "\xc3\xa9\xc3\xa9...");
    CHECK(one_line("", 5).empty());
}

TEST_CASE("CSV fields") {
    CHECK(csv_field("plain") == "plain");
    CHECK(csv_field("a,b") == "\"a,b\"");
    CHECK(csv_field("say \"hi\"\n") == "\"say \"\"hi\"\"\n\"");
    CHECK(csv_number(NAN).empty());
    CHECK(csv_number(0.1f) == "0.1");
}
