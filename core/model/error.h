#pragma once

#include <stdexcept>
#include <string>

namespace savepoint {

// The one family of exceptions. The message names the file or the field, what is wrong with it, and
// the way out, in that order: "manifest.json: schema_version is 9; this Savepoint reads up to 1".
class Error : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// A file (weights, session, sidecar, corpus) that is missing, damaged, foreign or unwritable.
class FileError : public Error {
   public:
    FileError(const std::string& path, const std::string& problem) : Error(path + ": " + problem) {}
};

// Something the user asked for that cannot be done as asked (empty prompt, token out of range).
class InputError : public Error {
   public:
    using Error::Error;
};

// A job that was stopped by its user; never shown as a failure.
class Cancelled : public Error {
   public:
    Cancelled() : Error("cancelled") {}
};

}  // namespace savepoint
