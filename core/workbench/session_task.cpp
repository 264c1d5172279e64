#include "core/workbench/session_task.h"

#include "core/model/error.h"
#include "core/workbench/desk.h"
#include "core/workbench/text.h"

namespace savepoint {
namespace {

SessionIdentity identity_of(const Desk& desk) {
    const LoadedModel& model = desk.need_model();
    SessionIdentity identity;
    identity.model_name = model.transformer->config().name;
    identity.model_sha256 = model.weights->sha256();
    identity.tokenizer_hash = model.tokenizer_hash;
    identity.sidecar_hash = desk.fit.sidecar ? desk.fit.sidecar->hash() : std::string();
    identity.model_config = model.transformer->config();
    return identity;
}

// What a file may say of the view is checked where it is used: a foreign one must not hurt.
int64_t integer_or_zero(const nlohmann::json& object, const char* name) {
    if (!object.is_object()) return 0;
    const auto found = object.find(name);
    return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

nlohmann::json view_of(const Desk& desk, const std::string& app) {
    return {{"app", app},
            {"anomaly_choice", to_string(desk.references.choice())},
            {"pruning", to_string(desk.pruning)},
            {"mark_threshold", desk.mark_threshold},
            {"trajectory", {{"thoughts", desk.trajectory.thoughts}, {"group", desk.trajectory.group}}}};
}

double threshold_of(const nlohmann::json& view, double otherwise) {
    if (!view.is_object()) return otherwise;
    const auto found = view.find("mark_threshold");
    if (found == view.end() || !found->is_number()) return otherwise;
    const auto percentile = found->get<double>();
    return percentile >= 0 && percentile <= 100 ? percentile : otherwise;
}

std::string text_or_empty(const nlohmann::json& object, const char* name) {
    if (!object.is_object()) return {};
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Older sessions name phi alone. What a foreign file says wrongly is passed over.
void restore_choices(Desk& desk, const nlohmann::json& view) {
    const std::string choice = text_or_empty(view, "anomaly_choice"), map = text_or_empty(view, "feature_map"),
                      pruning = text_or_empty(view, "pruning");
    try {
        if (!choice.empty())
            desk.references.want(desk, anomaly_choice_from(choice));
        else if (!map.empty())
            desk.references.want(desk, {.phi = {.kind = phi_from(map)}});
        if (!pruning.empty()) desk.pruning = pruning_from(pruning);
    } catch (const InputError& problem) {
        desk.notices.warn(std::string("the session's choice of scores cannot be used: ") + problem.what());
    }
}

bool is_there(const ThoughtGraph& graph, const TokenRef& token) {
    return graph.contains(token.thought) && token.position >= 0 && token.position < graph.path_length(token.thought);
}

// Older sessions have the selection in the view, or not at all.
TokenRef selection_of(const SessionContents& contents) {
    if (contents.selected.thought != 0 || !contents.view.is_object()) return contents.selected;
    const auto saved = contents.view.find("selected");
    if (saved == contents.view.end()) return {};
    return {integer_or_zero(*saved, "thought"), integer_or_zero(*saved, "position")};
}

// Older ones left it behind on another path when a branch was made.
void restore_selection(Desk& desk, const SessionContents& contents, const TokenRef& token) {
    if (is_there(desk.graph, token)) desk.select(token);
    if (contents.selected.thought == 0) desk.keep_selection();
}

void restore_trajectory(Desk& desk, const nlohmann::json& view) {
    if (!view.is_object() || !view.contains("trajectory")) return;
    const nlohmann::json& saved = view["trajectory"];
    const int64_t groups = desk.fit.sidecar ? static_cast<int64_t>(desk.fit.sidecar->hidden().groups().size()) : 0;
    const int64_t group = saved.is_object() && saved.contains("group") ? integer_or_zero(saved, "group") : -1;
    desk.trajectory.group = group < groups ? std::max<int64_t>(group, -1) : -1;
    if (!saved.is_object() || !saved.contains("thoughts") || !saved["thoughts"].is_array()) return;
    for (const nlohmann::json& id : saved["thoughts"])
        if (id.is_number_integer() && desk.graph.contains(id.get<int64_t>()))
            desk.trajectory.thoughts.push_back(id.get<int64_t>());
}

// A copy in which the running thought ends where it is.
ThoughtGraph complete_copy(const Desk& desk) {
    ThoughtGraph copy = desk.graph;
    if (desk.generating == 0) return copy;
    if (copy.at(desk.generating).tokens.empty())
        copy.remove(desk.generating);
    else
        copy.complete(desk.generating);
    return copy;
}

SessionContents contents_of(const Desk& desk, const std::string& app_view) {
    SessionContents contents;
    contents.identity = identity_of(desk);
    contents.graph = complete_copy(desk);
    contents.current = contents.graph.contains(desk.current) ? desk.current : 0;
    if (is_there(contents.graph, desk.selected)) contents.selected = desk.selected;
    contents.view = view_of(desk, app_view);
    return contents;
}

// Null where the folder cannot be had for writing, and `obstacle` says why.
std::shared_ptr<const SessionLock> lock_of(Desk& desk, const std::string& folder, std::string& obstacle) {
    try {
        return desk.hold.take(folder, false);
    } catch (const FileError& problem) {
        obstacle = problem.what();
        return nullptr;
    }
}

std::string megabytes(int64_t bytes) { return fixed(static_cast<double>(bytes) / 1e6, 1) + " MB"; }

}  // namespace

void stop_session_tasks(Desk& desk) {
    desk.generations.clear();
    desk.after_rows.clear();
    desk.waiting_preview.reset();
    desk.tasks.stop_all_but({TaskKind::load, TaskKind::session, TaskKind::fit, TaskKind::reference, TaskKind::compare,
                             TaskKind::experiment, TaskKind::ranking, TaskKind::train});
}

void start_new_session(Desk& desk) {
    stop_session_tasks(desk);
    desk.replace_graph({}, 0);
    desk.hold.let_go();
    desk.session = {{}, false, {}, desk.session.opened + 1, false};
    desk.publisher.touch();
}

void open_session_folder(Desk& desk, const std::string& folder) {
    const SessionIdentity expected = identity_of(desk);
    // Locked before it is read, so that nobody saves in between.
    const std::string version = session_version(folder);
    std::string obstacle;
    const auto lock = version.empty() ? nullptr : lock_of(desk, folder, obstacle);
    SessionContents contents = open_session(folder, &expected);
    if (!contents.identity.sidecar_hash.empty() && contents.identity.sidecar_hash != expected.sidecar_hash) {
        desk.notices.warn(folder +
                          " was made with another sidecar: latents and edits will differ, exact states do not");
    }
    stop_session_tasks(desk);
    desk.replace_graph(std::move(contents.graph), contents.current);
    desk.session = {folder, false, text_or_empty(contents.view, "app"), desk.session.opened + 1, !lock};
    lock ? desk.hold.keep(lock) : desk.hold.look_only(folder, version);
    restore_choices(desk, contents.view);
    desk.mark_threshold = threshold_of(contents.view, desk.mark_threshold);
    restore_trajectory(desk, contents.view);
    restore_selection(desk, contents, selection_of(contents));
    desk.publisher.touch();
    desk.notices.info("opened " + folder);
    if (!lock) desk.notices.warn(obstacle + ". It was opened read-only");
}

SaveTask::SaveTask(Desk& desk, command::SaveSession command)
    : Task(TaskKind::session, "Saving " + command.folder),
      desk_(desk),
      folder_(command.folder),
      exact_rows_(command.exact_rows),
      opened_(desk.session.opened) {
    if (folder_.empty()) throw InputError("choose a folder to save the session in");
    contents_ = std::make_shared<SessionContents>(contents_of(desk, command.view));
    desk.session.modified = false;  // what changes from here on is not in the copy
}

Step SaveTask::step() {
    if (!aside_) {
        if (desk_.tasks.find(TaskKind::session) != this) return Step::waiting;  // one writer at a time
        begin();
    }
    if (!aside_->finished()) return Step::waiting;
    desk_.publisher.touch();
    aside_->rethrow();
    saved();
    return Step::done;
}

void SaveTask::begin() {
    lock_ = desk_.hold.take(folder_, true);
    if (opened_ == desk_.session.opened && desk_.session.read_only) desk_.hold.check_unchanged(folder_);
    const auto work = [contents = contents_, folder = folder_, exact = exact_rows_, lock = lock_,
                       report = report_](const Aside::Report&) {
        *report = save_session(folder, *contents, {.exact_rows = exact, .held = lock.get()});
    };
    aside_ = std::make_unique<Aside>(work, desk_.wake);
}

void SaveTask::failed(const std::string&) { desk_.session.modified = true; }

void SaveTask::saved() {
    if (desk_.session.opened == opened_) {
        desk_.session.folder = folder_;
        desk_.session.read_only = false;
        desk_.hold.keep(lock_);
    }
    if (report_->thoughts_without_rows > 0) {
        desk_.notices.warn("states of " + std::to_string(report_->thoughts_without_rows) +
                           " thoughts are not finite and were left out");
    }
    desk_.notices.info("saved " + folder_ + ": " + stage());
}

std::string SaveTask::stage() const {
    if (!aside_ || !aside_->finished()) return {};
    return megabytes(report_->bytes_total) + ", " + megabytes(report_->bytes_written) + " of it new";
}

}  // namespace savepoint
