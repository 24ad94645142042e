#pragma once

#include <string>

// The folder data/ of this checkout.
std::string data_dir();
