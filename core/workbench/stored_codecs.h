#pragma once

#include <string>

namespace savepoint {

struct Desk;

std::string codec_folder(const std::string& fit_folder);  // of a model; empty for an empty one: nothing is kept
// What was compared and trained before: the newest comparison's codecs and every learned one, as their files say. On
// the shelf and in Snapshot::rate_distortion; files that cannot be read are named in the log and left out.
void show_stored_codecs(Desk& desk);

}  // namespace savepoint
