#pragma once

#include "core/sidecar/codec_evaluation.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

CodecView codec_view(const CodecFigures& figures);

}  // namespace savepoint
