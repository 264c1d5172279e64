#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/model/weights.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// The codecs that were judged, by name. Those that have a file are read from it when they are wanted: a fitted one may
// take 200 MB.
class CodecShelf {
   public:
    void put(const std::string& name, const std::string& file);
    void put(const std::string& name, std::shared_ptr<const RunCodec> codec);
    void clear() { kept_.clear(); }
    // What gives it, to be called on any thread: throws FileError for a file that is gone, damaged or of another model.
    using Source = std::function<std::shared_ptr<const RunCodec>(std::shared_ptr<const Weights>)>;
    Source find(const std::string& name) const;       // throws InputError for a name that is not there
    std::string file(const std::string& name) const;  // empty: it has none. Throws as find()

   private:
    struct Entry {
        Source source;
        std::string file;
    };
    const Entry& entry(const std::string& name) const;

    std::map<std::string, Entry> kept_;
};

}  // namespace savepoint
