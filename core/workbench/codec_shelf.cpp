#include "core/workbench/codec_shelf.h"

#include "core/model/error.h"
#include "core/sidecar/codec_files.h"

namespace savepoint {

void CodecShelf::put(const std::string& name, const std::string& file) {
    kept_[name] = {
        [file](std::shared_ptr<const Weights> weights) { return load_codec(file, std::move(weights)).codec; }, file};
}

void CodecShelf::put(const std::string& name, std::shared_ptr<const RunCodec> codec) {
    kept_[name] = {[codec = std::move(codec)](const std::shared_ptr<const Weights>&) { return codec; }, {}};
}

const CodecShelf::Entry& CodecShelf::entry(const std::string& name) const {
    const auto found = kept_.find(name);
    if (found == kept_.end()) throw InputError("codec: \"" + name + "\" has not been compared; compare codecs first");
    return found->second;
}

CodecShelf::Source CodecShelf::find(const std::string& name) const { return entry(name).source; }

std::string CodecShelf::file(const std::string& name) const { return entry(name).file; }

}  // namespace savepoint
