/* Forced into every translation unit: functions that this project does not use do not compile. */
#ifndef CORE_BANNED_H
#define CORE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(f) f##_is_banned_see_core_banned_h

#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef atoi
#undef gmtime
#undef localtime
#undef ctime
#define strcpy(d, s)     BANNED(strcpy)
#define strcat(d, s)     BANNED(strcat)
#define strncpy(d, s, n) BANNED(strncpy)
#define strncat(d, s, n) BANNED(strncat)
#define sprintf(...)     BANNED(sprintf)
#define vsprintf(...)    BANNED(vsprintf)
#define strtok(s, d)     BANNED(strtok)
#define atoi(s)          BANNED(atoi)
#define gmtime(t)        BANNED(gmtime)
#define localtime(t)     BANNED(localtime)
#define ctime(t)         BANNED(ctime)

#endif
