#include "cli/verify_logits.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/interrupt.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/base/standard_output.h"

namespace cli {
namespace {

constexpr int kPollMilliseconds = 10;
constexpr int64_t kLargestReport = 64 << 20;

std::vector<std::string> arguments(const bridge::Path& program, const VerifyCommand& command,
                                   const bridge::Path& report,
                                   const bridge::ConversionFacts& facts) {
  const bridge::VerifyOptions& options = command.options;
  std::vector<std::string> words = {program.native()};
  const auto add = [&](std::string_view option, const std::string& value) {
    words.push_back(fmt::format("{}={}", option, value));
  };
  add("--called-by-version", CAUSEWAY_VERSION);
  if (!options.iteration.empty()) add("--iteration", options.iteration);
  add("--memory", std::to_string(options.memory));
  if (options.threads > 0) add("--threads", std::to_string(options.threads));
  if (options.progress != bridge::ProgressMode::kAuto) {
    add("--progress", options.progress == bridge::ProgressMode::kAlways ? "always" : "never");
  }
  if (!report.empty()) add("--report", report.native());
  if (options.quiet) words.emplace_back("--quiet");
  if (facts.without_mtp) add("--mtp", "drop");
  if (facts.without_parts) add("--parts", "text");
  if (!facts.dtype.empty()) add("--dtype", facts.dtype);
  for (const auto& [option, value] : command.forward_options) add(option, value);
  words.insert(words.end(), {"--", options.a.native(), options.b.native()});
  return words;
}

pid_t start(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  bridge::flush_standard_output();  // our lines come before its own
  pid_t child = 0;
  const int error = ::posix_spawn(&child, argv[0], nullptr, nullptr, argv.data(), ::environ);
  if (error != 0) bridge::io_error(words[0], "posix_spawn", error);
  return child;
}

// What waitpid says. Ends with Interrupted when a signal came, the child having got it too.
int wait_for(pid_t child) {
  int status = 0;
  try {
    while (true) {
      const pid_t ended = ::waitpid(child, &status, WNOHANG);
      if (ended == child) return status;
      if (ended < 0 && errno != EINTR) bridge::io_error("causeway-verify", "waitpid", errno);
      bridge::throw_if_interrupted();
      ::poll(nullptr, 0, kPollMilliseconds);
    }
  } catch (const bridge::Interrupted& interrupted) {
    ::kill(child, interrupted.exit_status() - 128);
    ::waitpid(child, &status, 0);
    throw;
  }
}

int exit_status(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const int signal = WTERMSIG(status);
  if (signal == SIGKILL) {
    throw bridge::Error(bridge::Code::kIo, "causeway-verify was killed (signal 9)",
                        "where memory ran out, a shorter prompt or fewer --threads need less");
  }
  if (signal == SIGINT || signal == SIGTERM) throw bridge::Interrupted(signal);
  if (signal == SIGPIPE) ::raise(SIGPIPE);  // nobody reads our results either
  bridge::internal_error(fmt::format("causeway-verify ended by signal {}", signal));
}

// Its report, beside ours; gone when we are done, whatever happened.
class ReportFile {
 public:
  ReportFile(bridge::FileSystem& fs, const bridge::Path& ours) : fs_(fs) {
    if (ours.empty()) return;
    path_ = ours;
    path_ += fmt::format(".logits-{}", ::getpid());
  }
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;
  ~ReportFile() {
    if (path_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    path_ += ".partial";
    std::filesystem::remove(path_, ignored);
  }

  const bridge::Path& path() const { return path_; }  // empty: none is wanted
  nlohmann::ordered_json read() const {
    if (path_.empty() || !fs_.lstat(path_)) return {};
    return bridge::parse_json(bridge::read_whole_file(fs_, path_, kLargestReport));
  }

 private:
  bridge::FileSystem& fs_;
  bridge::Path path_;
};

}  // namespace

std::optional<bridge::Path> find_causeway_verify() {
  std::error_code error;
  const bridge::Path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return std::nullopt;
  bridge::Path program = self.parent_path() / "causeway-verify";
  if (::access(program.c_str(), F_OK) != 0) return std::nullopt;
  return program;
}

LogitsRun run_causeway_verify(const bridge::Path& program, const VerifyCommand& command,
                              const bridge::ConversionFacts& facts) {
  bridge::FileSystem& fs = bridge::real_file_system();
  const ReportFile report(fs, command.options.report);
  const pid_t child = start(arguments(program, command, report.path(), facts));
  LogitsRun run;
  run.status = exit_status(wait_for(child));
  run.json = report.read();
  return run;
}

}  // namespace cli
