#include "core/workbench/export_task.h"

#include <functional>
#include <map>

#include "core/model/error.h"
#include "core/state/safetensors.h"
#include "core/workbench/desk.h"
#include "core/workbench/exports.h"

namespace savepoint {
namespace {

using Writer = std::string (*)(Desk&);

const std::map<std::string, Writer>& writers() {
    static const std::map<std::string, Writer> all = {{"transcript.csv", transcript_csv},
                                                      {"anomaly.csv", anomaly_csv},
                                                      {"trajectory.csv", trajectory_csv},
                                                      {"reconstruction.csv", reconstruction_csv},
                                                      {"drift.csv", drift_csv},
                                                      {"patch.csv", patch_csv},
                                                      {"lens.csv", lens_csv},
                                                      {"attention.csv", attention_csv},
                                                      {"attention_mass.csv", attention_mass_csv},
                                                      {"diagnosis.csv", diagnosis_csv},
                                                      {"preview.csv", preview_csv},
                                                      {"codecs.csv", codecs_csv},
                                                      {"phi.csv", phi_csv},
                                                      {"experiment.csv", experiment_csv},
                                                      {"injection.csv", injection_csv},
                                                      {"experiment.html", experiment_html},
                                                      {"experiment.json", experiment_json},
                                                      {"projection.csv", projection_csv},
                                                      {"graph.json", graph_json},
                                                      {"latents.safetensors", latents_safetensors},
                                                      {"z.safetensors", z_safetensors}};
    return all;
}

std::string known_names() {
    std::string names;
    for (const auto& [name, writer] : writers()) names += (names.empty() ? "" : ", ") + name;
    return names;
}

}  // namespace

bool export_needs_rows(const std::string& what) { return what == "latents.safetensors"; }

ExportTask::ExportTask(Desk& desk, command::Export command)
    : Task(TaskKind::exporting, "Exporting " + command.what), desk_(desk), command_(std::move(command)) {
    if (!writers().contains(command_.what))
        throw InputError("\"" + command_.what + "\" cannot be exported; there are " + known_names());
    if (command_.path.empty()) throw InputError("choose a file to export to");
    if (command_.what != "projection.csv") desk.need_model();  // of a file it needs none
    desk.analyses.wake();
}

Step ExportTask::step() {
    write_atomically(command_.path, writers().at(command_.what)(desk_));
    desk_.notices.info("exported " + command_.path);
    return Step::done;
}

}  // namespace savepoint
