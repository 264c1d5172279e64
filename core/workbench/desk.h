#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/analysis/reference_fit.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"
#include "core/state/replay.h"
#include "core/state/session.h"
#include "core/workbench/analyses.h"
#include "core/workbench/causal_runs.h"
#include "core/workbench/codec_shelf.h"
#include "core/workbench/commands.h"
#include "core/workbench/lens_task.h"
#include "core/workbench/memory_budget.h"
#include "core/workbench/notices.h"
#include "core/workbench/preview.h"
#include "core/workbench/projection_book.h"
#include "core/workbench/publisher.h"
#include "core/workbench/reference_book.h"
#include "core/workbench/session_hold.h"
#include "core/workbench/task.h"
#include "core/workbench/workbench.h"

namespace savepoint {

struct LoadedModel {
    std::shared_ptr<const Weights> weights;
    std::unique_ptr<Transformer> transformer;
    std::unique_ptr<Tokenizer> tokenizer;
    std::string tokenizer_hash;
    std::string device_name;
    std::string default_system_prompt;
};

// A command and when it was submitted.
struct Received {
    Command command;
    std::chrono::steady_clock::time_point at;
};

// Everything the worker thread owns: the model, the sidecar, the graph, what is known about them, and
// what waits to be done. Only the worker thread touches it.
struct Desk {
    Desk(WorkbenchOptions options, std::function<void()> wake);

    WorkbenchOptions options;
    std::function<void()> wake;  // from any thread: have the worker look again

    Notices notices;
    Publisher publisher;

    std::shared_ptr<LoadedModel> model;  // null: none
    ReferenceFit::Result fit;            // null pointers: none
    std::string fit_folder;
    ThoughtGraph graph;
    std::unique_ptr<LiveCache> live;     // what generation continues on
    std::unique_ptr<LiveCache> scratch;  // what previews run on, so that generation need not restore
    ThoughtId current = 0, generating = 0;
    TokenRef selected;
    ReferenceBook references;
    Pruning pruning;
    double mark_threshold = kMarkThreshold;
    bool watches_attention_mass = false;
    TrajectoryChoice trajectory;
    Analyses analyses;
    ProjectionBook projection;
    KnownScale drift_scale;
    KnownLens tuned_lens;
    PreviewMemory preview;
    CodecShelf codecs;
    SessionView session;
    SessionHold hold;  // of the folder of the session
    MemoryBudget memory;
    double tokens_per_second = 0;
    std::set<ThoughtId> rows_refused;  // recomputing them was cancelled or failed: not to be tried again unasked

    std::deque<Received> held;                // until the model is loaded
    std::deque<Received> generations;         // until the running generation ends
    std::deque<Received> after_rows;          // until recomputed rows are there
    std::deque<Received> redo;                // what of these may run now
    std::optional<Received> waiting_preview;  // the newest one

    TaskList tasks;  // last: tasks use all of the above

    const LoadedModel& need_model() const;  // throws InputError
    const Sidecar& need_sidecar() const;    // throws InputError
    const Transformer& transformer() const { return *need_model().transformer; }
    const Tokenizer& tokenizer() const { return *need_model().tokenizer; }

    // The thought that owns a token of a path; throws InputError naming what is not there.
    ThoughtGraph::Owner locate(const TokenRef& token) const;
    void set_current(ThoughtId thought);
    void select(const TokenRef& token);
    // When another path is shown: the token at the same place of it, else its last one, unless the selected
    // token is on it.
    void keep_selection();
    void want_selected_rows();  // has them computed when the sidecar could show them
    void graph_changed();       // the session differs from what was saved
    void replace_graph(ThoughtGraph graph, ThoughtId current);
    void adopt_fit(ReferenceFit::Result result);
    void refresh_latent();  // of the selected token, as far as its rows are there
};

}  // namespace savepoint
