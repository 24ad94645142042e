// Names of what is written in order and never replaced: descriptors of this process (/dev/stdout, /dev/fd/63 of a
// shell's >(command)), pipes, terminals and other character devices. A rename over one would replace the
// name: as root, /dev/null itself.
//
// Truth: proc(5) on /proc/self/fd, fifo(7).
#pragma once

#include <string_view>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Whether path is one of these. Nothing is opened.
bool is_stream(const Path& path);

// Whether path names descriptor 1.
bool is_standard_output(const Path& path);

// kIo where writing will fail. A pipe is not opened: its reader would take that for the end.
void check_stream_can_be_written(const Path& path);

// Waits for the reader of a pipe. Error: kIo.
void write_to_stream(const Path& path, std::string_view text);

}  // namespace bridge
