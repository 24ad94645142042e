#include "cli/verify_logits.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/interrupt.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/stream_file.h"
#include "bridge/io/launch/rank.h"

namespace cli {
namespace {

constexpr int kPollMilliseconds = 10;
constexpr int64_t kLargestReport = 64 << 20;

// The child finds a launcher in the environment as we did. Other ranks of it lie beside the report,
// which we write; a training step is not shared.
void add_rank(std::vector<std::string>& words, const VerifyCommand& command) {
  const bridge::Rank& rank = command.options.rank;
  if (command.mode == "train-step") {
    words.emplace_back("--rank=0/1");
    return;
  }
  if (rank.launcher == bridge::kRankOption) {
    words.push_back(fmt::format("--rank={}/{}", rank.index, rank.count));
  }
  if (rank.count == 1) return;
  words.push_back(fmt::format("--rank-timeout={}", rank.timeout.count()));
  words.push_back("--called-for-report=" + command.options.report.native());
}

std::vector<std::string> arguments(const bridge::Path& program, const VerifyCommand& command,
                                   const bridge::Path& report,
                                   const bridge::ConversionFacts& facts) {
  const bridge::VerifyOptions& options = command.options;
  std::vector<std::string> words = {program.native()};
  const auto add = [&](std::string_view option, const std::string& value) {
    words.push_back(fmt::format("{}={}", option, value));
  };
  add("--called-by-version", CAUSEWAY_VERSION);
  add("--called-by-process", std::to_string(::getpid()));
  if (!options.iteration.empty()) add("--iteration", options.iteration);
  if (command.memory_is_given) add("--memory", std::to_string(options.memory));
  if (options.threads > 0) add("--threads", std::to_string(options.threads));
  if (options.progress != bridge::ProgressMode::kAuto) {
    add("--progress", options.progress == bridge::ProgressMode::kAlways ? "always" : "never");
  }
  if (!report.empty()) add("--report", report.native());
  add_rank(words, command);
  if (options.quiet) words.emplace_back("--quiet");
  const bool says_mtp = std::any_of(command.forward_options.begin(), command.forward_options.end(),
                                    [](const auto& option) { return option.first == "--mtp"; });
  if (facts.without_mtp && !says_mtp) add("--mtp", "drop");
  if (facts.without_parts) add("--parts", "text");
  if (!facts.dtype.empty()) add("--dtype", facts.dtype);
  for (const auto& [option, value] : command.forward_options) add(option, value);
  if (command.mode == "train-step") add("--mode", command.mode);
  words.insert(words.end(), {"--", options.a.native()});
  if (!options.b.empty()) words.push_back(options.b.native());
  return words;
}

// Our own environment, in which LibTorch's threads sleep while they wait unless the user says
// otherwise. The library reads that variable when it is loaded, before the program's first line.
std::vector<std::string> environment() {
  std::vector<std::string> words;
  for (char** word = ::environ; *word != nullptr; ++word) words.emplace_back(*word);
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) words.emplace_back("OMP_WAIT_POLICY=passive");
  return words;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// results_to: the descriptor that becomes the child's standard output.
pid_t start(const std::vector<std::string>& words, int results_to) {
  bridge::flush_standard_output();  // our lines come before the child's
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (results_to != STDOUT_FILENO) {
    ::posix_spawn_file_actions_adddup2(&actions, results_to, STDOUT_FILENO);
  }
  const std::vector<std::string> variables = environment();
  const std::vector<char*> argv = pointers_to(words);
  pid_t child = 0;
  const int error =
      ::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), pointers_to(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) bridge::io_error(words[0], "posix_spawn", error);
  return child;
}

// Returns the status from waitpid. On a signal, sends it to the child, waits for its end and throws
// Interrupted.
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
  if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) throw bridge::Interrupted(signal);
  if (signal == SIGPIPE) ::raise(SIGPIPE);  // nobody reads our results either
  bridge::internal_error(fmt::format("causeway-verify ended by signal {}", signal));
}

// The child's report: a file in memory that it inherits, so that nothing is left over whatever
// happens.
class ReportFile {
 public:
  explicit ReportFile(bool wanted) {
    if (!wanted) return;
    descriptor_ = ::memfd_create("causeway-verify report", 0);
    if (descriptor_ < 0) bridge::io_error("the report of causeway-verify", "memfd_create", errno);
  }
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;
  ~ReportFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  // Empty if no report is wanted.
  bridge::Path path() const {
    return descriptor_ < 0 ? bridge::Path() : bridge::Path(fmt::format("/dev/fd/{}", descriptor_));
  }
  // Null if the child ended before writing one.
  nlohmann::ordered_json read() const {
    if (descriptor_ < 0) return {};
    const std::string text = bridge::read_whole_file(
        bridge::real_file_system(), fmt::format("/proc/self/fd/{}", descriptor_), kLargestReport);
    return text.empty() ? nlohmann::ordered_json() : bridge::parse_json(text);
  }

 private:
  int descriptor_ = -1;
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

int check_forward_options(const bridge::Path& program, const VerifyCommand& command) {
  std::vector<std::string> words = arguments(program, command, {}, {});
  words.insert(words.begin() + 1, "--called-to-check");
  return exit_status(wait_for(start(words, STDOUT_FILENO)));
}

LogitsRun run_causeway_verify(const bridge::Path& program, const VerifyCommand& command,
                              const bridge::ConversionFacts& facts) {
  const bool reports = !command.options.report.empty() || !command.html.empty();
  const ReportFile report(reports && command.options.rank.leads());
  const bool aside = bridge::is_standard_output(command.options.report);
  const pid_t child = start(arguments(program, command, report.path(), facts),
                            aside ? STDERR_FILENO : STDOUT_FILENO);
  LogitsRun run;
  run.status = exit_status(wait_for(child));
  run.json = report.read();
  return run;
}

}  // namespace cli
