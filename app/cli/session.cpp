#include <filesystem>
#include <fstream>

#include "app/cli/commands.h"
#include "core/model/error.h"
#include "core/state/session.h"

namespace savepoint::cli {

namespace {

// -- session ---------------------------------------------------------------------------------------------------

int info(const Common&, const std::string& folder) {
    const SessionSummary summary = inspect_session(folder, false);
    if (summary.facts.is_null())
        throw FileError(folder, summary.problems.empty() ? "is no session" : summary.problems.front());
    std::cout << summary.facts.dump(2) << "\n";
    return 0;
}

int verify(const Common& common, const std::string& folder) {
    const SessionSummary summary = inspect_session(folder, true);
    if (common.json) {
        print_json({{"facts", summary.facts}, {"problems", summary.problems}});
    } else {
        for (const std::string& problem : summary.problems) std::cerr << problem << "\n";
        if (summary.problems.empty()) std::cout << folder << ": sound\n";
    }
    return summary.problems.empty() ? 0 : 1;
}

int export_session(const Common& common, const std::string& folder, const std::string& out) {
    auto workbench = open_workbench(common, false);
    workbench->submit(command::OpenSession{folder});
    finish(*workbench, true);
    std::filesystem::create_directories(out);
    for (const char* what : {"transcript.csv", "graph.json"})
        workbench->submit(command::Export{what, out + "/" + what});
    const auto snapshot = finish(*workbench, true);
    if (snapshot->sidecar->phase == Phase::ready) {
        for (const std::string what : {"anomaly.csv", "latents.safetensors", "trajectory.csv", "reconstruction.csv"}) {
            // A path of a few tokens has no trajectory: the first ones are left out of it.
            if (what == "trajectory.csv" && !snapshot->trajectory) continue;
            workbench->submit(command::Export{what, out + "/" + what});
        }
        finish(*workbench, true);
    }
    for (const auto& file : std::filesystem::directory_iterator(out)) std::cout << file.path().string() << "\n";
    return 0;
}

// -- edit: dose and response -------------------------------------------------------------------------------------

struct EditArguments {
    std::string session, part = "hidden", csv;
    LatentEdit edit;
    TokenRef at;
    std::vector<double> values{-4, -3, -2, -1, 0, 1, 2, 3, 4};
    int64_t resume_tokens = 0;  // 0: only look
};

LatentPart part_from(const std::string& name) {
    if (name == "key") return LatentPart::key;
    if (name == "value") return LatentPart::value;
    return LatentPart::hidden;
}

nlohmann::json respond(Workbench& workbench, const EditArguments& arguments, double value) {
    LatentEdit edit = arguments.edit;
    edit.amount = value;
    workbench.submit(command::PreviewEdit{arguments.at, {edit}});
    const auto snapshot = finish(workbench, true);
    if (!snapshot->preview) throw Error("edit: no preview came back");
    const PreviewView& preview = *snapshot->preview;
    nlohmann::json rows = nlohmann::json::array();
    for (const PreviewRow& row : preview.rows)
        rows.push_back({{"id", row.id},
                        {"text", row.text},
                        {"before", row.before},
                        {"control", row.control},
                        {"edited", row.edited}});
    return {{"value", value},
            {"kl_control", preview.kl_control},
            {"kl_edited", preview.kl_edited},
            {"distance_control", preview.distance_control},
            {"distance_edited", preview.distance_edited},
            {"next", rows}};
}

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"') out += '"';
        out += c;
    }
    return out + "\"";
}

const nlohmann::json& most_likely(const nlohmann::json& response, const char* which) {
    const nlohmann::json& rows = response["next"];
    size_t best = 0;
    for (size_t i = 1; i < rows.size(); ++i)
        if (rows[i][which] > rows[best][which]) best = i;
    return rows.at(best);
}

void write_csv(std::ostream& out, const nlohmann::json& responses) {
    out << "value_sd,kl_control_nats,kl_edited_nats,distance_edited,top_id,top_text,top_probability,control_top_id,"
           "control_top_probability_edited\n";
    for (const auto& response : responses) {
        const auto& top = most_likely(response, "edited");
        const auto& was = most_likely(response, "control");
        out << response["value"] << "," << response["kl_control"] << "," << response["kl_edited"] << ","
            << response["distance_edited"] << "," << top["id"] << "," << quoted(top["text"].get<std::string>()) << ","
            << top["edited"] << "," << was["id"] << "," << was["edited"] << "\n";
    }
}

// Makes the branch with the last value of the sweep and saves it into the session.
void resume(Workbench& workbench, const EditArguments& arguments) {
    LatentEdit edit = arguments.edit;
    edit.amount = arguments.values.back();
    GenerateSettings settings;
    settings.sampler.greedy = true;
    settings.max_tokens = arguments.resume_tokens;
    workbench.submit(command::ResumeEdit{arguments.at, {edit}, settings});
    finish(workbench, true);
    workbench.submit(command::SaveSession{arguments.session, "{}"});
    std::cerr << "thought " << finish(workbench)->current << " saved into " << arguments.session << "\n";
}

int edit(const Common& common, const EditArguments& given) {
    EditArguments arguments = given;
    arguments.edit.part = part_from(arguments.part);
    arguments.edit.first_token = arguments.edit.last_token = arguments.at.position;
    auto workbench = open_workbench(common, false);
    workbench->submit(command::OpenSession{arguments.session});
    auto snapshot = finish(*workbench, true);
    if (snapshot->sidecar->phase != Phase::ready)
        throw Error("edit: no fitted sidecar for this model; make one with `savepoint fit --default`");
    workbench->submit(command::Select{arguments.at});
    finish(*workbench, true);
    nlohmann::json responses = nlohmann::json::array();
    for (const double value : arguments.values) responses.push_back(respond(*workbench, arguments, value));
    if (arguments.resume_tokens > 0) resume(*workbench, arguments);
    if (!arguments.csv.empty()) {
        std::ofstream file(arguments.csv);
        write_csv(file, responses);
        if (!file) throw FileError(arguments.csv, "cannot be written");
    }
    if (common.json)
        print_json({{"thought", arguments.at.thought},
                    {"token", arguments.at.position},
                    {"part", arguments.part},
                    {"group", arguments.edit.group},
                    {"block", arguments.edit.block},
                    {"component", arguments.edit.component},
                    {"responses", responses}});
    else if (arguments.csv.empty())
        write_csv(std::cout, responses);
    return 0;
}

}  // namespace

void add_session(Registry registry) {
    CLI::App* session = registry.app.add_subcommand("session", "Look into session folders");
    session->require_subcommand(1);
    Registry inner{*session, registry.common, registry.chosen};
    auto folder = std::make_shared<std::string>();
    auto out = std::make_shared<std::string>("export");
    const auto add = [&](const char* name, const char* about) {
        CLI::App* command = add_command(inner, name, about);
        command->add_option("DIR", *folder, "NAME.savepoint")->required();
        return command;
    };
    add("info", "Facts from the manifest, as JSON")->callback([registry, folder] {
        registry.chosen = [&common = registry.common, folder] { return info(common, *folder); };
    });
    add("verify", "Check every blob and field")->callback([registry, folder] {
        registry.chosen = [&common = registry.common, folder] { return verify(common, *folder); };
    });
    CLI::App* exporting = add("export", "Write its tables and tensors (CSV, JSON, safetensors)");
    exporting->add_option("--out", *out, "Folder to write into")->capture_default_str();
    exporting->callback([registry, folder, out] {
        registry.chosen = [&common = registry.common, folder, out] { return export_session(common, *folder, *out); };
    });
}

void add_edit(Registry registry) {
    auto arguments = std::make_shared<EditArguments>();
    CLI::App* command = add_command(registry, "edit", "Sweep one component of a token's latent: dose and response");
    command->add_option("--session", arguments->session, "Session folder")->required();
    command->add_option("--thought", arguments->at.thought, "Thought id")->required();
    command->add_option("--token", arguments->at.position, "Position in the thought's path")
        ->required()
        ->check(CLI::NonNegativeNumber);
    command->add_option("--part", arguments->part, "hidden, key or value")
        ->check(CLI::IsMember({"hidden", "key", "value"}))
        ->capture_default_str();
    command->add_option("--group", arguments->edit.group, "Layer group")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->add_option("--block", arguments->edit.block, "key, value: one block; -1: all of the group")
        ->capture_default_str();
    command->add_option("--component", arguments->edit.component, "Component of the latent")
        ->required()
        ->check(CLI::NonNegativeNumber);
    command->add_option("--values", arguments->values, "Standard deviations from the mean, separated by commas")
        ->delimiter(',');
    command
        ->add_option("--resume", arguments->resume_tokens,
                     "Branch there with the last value, generate so many tokens (greedy) and save")
        ->check(CLI::NonNegativeNumber);
    command->add_option("--csv", arguments->csv, "Write the table into this file");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return edit(common, *arguments); };
    });
}

}  // namespace savepoint::cli
