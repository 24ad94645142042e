// The constants of the zip format that the reader and the layout share.
// Truth: APPNOTE.TXT 6.3.10 (PKWARE), miniz.h.
#pragma once

#include <cstdint>

namespace bridge::zip {

inline constexpr uint32_t kLocalSignature = 0x04034b50;
inline constexpr uint32_t kCentralSignature = 0x02014b50;
inline constexpr uint32_t kDescriptorSignature = 0x08074b50;
inline constexpr uint32_t kEndSignature = 0x06054b50;
inline constexpr uint32_t kEnd64Signature = 0x06064b50;
inline constexpr uint32_t kLocator64Signature = 0x07064b50;

inline constexpr int64_t kLocalSize = 30;
inline constexpr int64_t kCentralSize = 46;
inline constexpr int64_t kEndSize = 22;
inline constexpr int64_t kEnd64Size = 56;
inline constexpr int64_t kLocator64Size = 20;
inline constexpr int64_t kDescriptorSize = 16;
inline constexpr int64_t kDescriptor64Size = 24;

inline constexpr uint16_t kFlagDescriptor = 0x0008;  // sizes and CRC follow the payload
inline constexpr uint16_t kFlagUtf8 = 0x0800;
inline constexpr uint16_t kExtraZip64 = 0x0001;
inline constexpr uint16_t kExtraPadding = 0x4246;  // "FB": torch's alignment padding
inline constexpr uint16_t kEscape16 = 0xffff;      // "see the zip64 record"
inline constexpr uint32_t kEscape32 = 0xffffffff;

}  // namespace bridge::zip
