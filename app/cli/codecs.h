#pragma once

#include "app/cli/commands.h"
#include "core/sidecar/rate_distortion_settings.h"

namespace savepoint::cli {

// `savepoint evaluate --codecs`: fits every codec on one text and judges all on the same held-out text.
struct CodecArguments {
    bool all = false;         // --codecs
    std::string saved;        // --codec FILE: that one alone
    std::string save_folder;  // --save DIR: a file of each fitted codec
    RateDistortionSettings settings;
};
void add_codec_options(CLI::App& command, CodecArguments& arguments);
int evaluate_codecs(const Common& common, const CodecArguments& arguments);

}  // namespace savepoint::cli
