// Output paths that are written in order and never replaced: descriptors of this process
// (/dev/stdout, /dev/fd/63 of a shell's >(command)), pipes, terminals and other character devices.
// Renaming a file over one would replace the name: as root, /dev/null itself.
//
// Truth: proc(5) on /proc/self/fd, fifo(7).
#pragma once

#include <string_view>

#include "bridge/io/file/file_system.h"

namespace bridge {

// True if path is one of these. Opens nothing.
bool is_stream(const Path& path);

// True if path names descriptor 1.
bool is_standard_output(const Path& path);

// Error: kIo if writing will fail. Does not open a pipe: its reader would take the close for the
// end.
void check_stream_can_be_written(const Path& path);

// Waits until a pipe has a reader. Error: kIo.
void write_to_stream(const Path& path, std::string_view text);

}  // namespace bridge
