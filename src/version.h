/* The program's version, from configure. */
#ifndef SLUICE_VERSION_H
#define SLUICE_VERSION_H

#ifdef HAVE_CONFIG_H
#include "config-build.h"
#endif
#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#endif
