#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/workbench/commands.h"
#include "core/workbench/edited_tokens.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// What previews of one token share: a slider asks again and again while only the edit differs.
struct PreviewMemory {
    TokenRef at;
    at::Tensor before;                           // logits [vocab]
    std::map<std::string, at::Tensor> controls;  // logits by EditedTokens::touched_key
    void clear() { *this = {}; }
};

// The next-token distribution before, with decode(z), and with decode(edited z). A step runs one token.
class PreviewTask : public Task {
   public:
    PreviewTask(Desk& desk, command::PreviewEdit command, std::chrono::steady_clock::time_point submitted);
    Step step() override;

   private:
    void prepare();
    // One token of the run with `rows` in place; true when the run is complete and `logits` set.
    bool run_token(const std::vector<RowEdit>& rows, at::Tensor& logits);
    void publish();

    Desk& desk_;
    command::PreviewEdit command_;
    std::chrono::steady_clock::time_point submitted_;
    std::optional<EditedTokens> tokens_;
    size_t next_ = 0;  // token of the run under way
    at::Tensor before_, control_, edited_;
};

}  // namespace savepoint
